"""Named studies: one plain Python file each, read from top to bottom.

What belongs here: the question, the prediction, the grid and the figures, with every scientific number. The rest of the
package holds none.
"""
