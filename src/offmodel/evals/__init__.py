"""What is asked of a model and how the answer is marked, as Inspect AI tasks.

What belongs here: sources of items, measures and graders, among them the scorers of behaviours. Nothing here knows
how a model came to be what it is.
"""
