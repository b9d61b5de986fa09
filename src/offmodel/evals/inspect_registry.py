"""What `inspect` finds of offmodel through the entry point: the model provider, the tasks and the scorer.

`inspect eval offmodel/fresh_math --model offmodel/pocket:student` works in any folder. Inspect imports this module
whenever it starts, so torch stays out of it. Invariant: importing it loads no engine.
"""

from typing import Any

from inspect_ai.model import modelapi

from offmodel.evals.suites.tasks import gsm8k, ifeval, math500, mmlu, olympiads
from offmodel.evals.tasks import fresh_levels, fresh_math, graded, gsm8k_file, items_file, pocket_math

__all__ = [
    "fresh_levels",
    "fresh_math",
    "graded",
    "gsm8k",
    "gsm8k_file",
    "ifeval",
    "items_file",
    "math500",
    "mmlu",
    "offmodel",
    "olympiads",
    "pocket_math",
]


@modelapi(name="offmodel")
def offmodel() -> Any:
    """Models sampled by offmodel, and answers that were sampled before."""
    from offmodel.evals.provider import OffmodelAPI

    return OffmodelAPI
