"""The pocket world: text generators, and the small models that are shipped with the package.

What belongs here: plain Python without torch that writes prompts and answers of a made-up world. It is a mechanical
stand-in for learning the tool and testing methods, and no evidence about large models.
"""
