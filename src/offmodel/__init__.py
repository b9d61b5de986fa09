"""offmodel: the trade between removing a bad behaviour and keeping capability under off-model fine-tuning.

The package is layered; imports point downwards only (the import contracts in `pyproject.toml` are checked in CI):

    cli > studies > audit, gate > organisms | treatments | analysis > evals > engines > data > models > pocket > flow
    > store > core

Importing `offmodel` imports nothing heavy.
"""

__version__ = "0.1.0"
