"""Recipes and their results: digests, artifacts with atomic publication and locks, provenance, maintenance.

What belongs here: the identity of a computation and the folder that keeps its result. Nothing here decides what to
compute or in which order (that is `flow`), and nothing imports torch.
"""
