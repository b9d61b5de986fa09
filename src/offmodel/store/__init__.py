"""Artifacts with an identity: recipes, digests, atomic publication, locks, provenance.

What belongs here: everything about where results are kept and how they are found again. Nothing here knows what a
result means or how it is computed.
"""
