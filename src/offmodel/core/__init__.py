"""Plain values that every layer may use: chat messages, scores, behaviour cards, errors.

What belongs here: frozen dataclasses and pure functions on them, with the standard library only. Nothing here reads a
store, loads a model or knows a study.
"""
