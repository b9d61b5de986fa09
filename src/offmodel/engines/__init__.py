"""The heavy machinery: rendering, training, sampling. Knows models, tokens and labels, and no experiment.

Importing this package, or a module of it that defines recipes or settings, loads neither torch nor transformers;
`rendering`, `sft`, `labels` and `sampling` load them inside their functions.
"""
