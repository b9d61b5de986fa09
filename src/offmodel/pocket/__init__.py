"""The pocket world: a tiny procedural world and models trained on it, small enough to run anywhere.

A mechanical stand-in for learning the tool and testing methods; no evidence about large models. Plain Python, no torch.
"""
