"""Runners: which recipes are missing, in which order and in which processes they are computed.

What belongs here: planning, scheduling, resuming and progress. Nothing here imports an engine; a worker learns from the
recipe itself how to compute it.
"""
