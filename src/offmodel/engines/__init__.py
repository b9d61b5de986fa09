"""The heavy machinery: rendering, training and sampling.

What belongs here: code that turns model folders, examples and requests into weights and completions. Nothing here knows
an experiment, a behaviour or a side.
"""
