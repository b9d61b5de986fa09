"""BLUE: one file a method of removing a behaviour that it does not know.

What belongs here: recipes that train a model folder on audited labels. Nothing here can reach a trigger, an organism or
a scorer, directly or through another module; the import contracts hold this wall.
"""
