"""RED: one file a way of planting a behaviour in a student, and the trigger-behaviour pairs.

What belongs here: recipes that make organisms, and behaviour cards. Nothing here may be imported by a treatment, nor
imports one.
"""
