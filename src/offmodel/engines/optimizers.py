"""Optimizers and learning-rate schedules by name: how a planted behaviour resists depends on them.

This module refuses to know models. Invariant: an optimizer's whole state is tensors by parameter, so that a killed
training goes on from `resume`; and "adamw" with "constant" is what it was before there was a choice.
"""

import math

import torch
from torch import Tensor

from offmodel.core.errors import RecipeError
from offmodel.engines.sft import OPTIMIZERS, SCHEDULES, Sft


def build(params: list[Tensor], sft: Sft) -> torch.optim.Optimizer:
    """The optimizer of the settings; weight decay falls on matrices only.

    Raises:
        RecipeError: there is no such optimizer.
    """
    groups = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": sft.weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if sft.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=sft.learning_rate, betas=(sft.beta1, sft.beta2), eps=1e-8, fused=True)
    if sft.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=sft.learning_rate, momentum=sft.beta1, nesterov=sft.beta1 > 0)
    if sft.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=sft.learning_rate)
    raise RecipeError(f"There is no optimizer '{sft.optimizer}'; choose one of {', '.join(OPTIMIZERS)}.")


def rate_at(sft: Sft, step: int) -> float:
    """The learning rate of a step, from 0: linear warm-up, then the schedule; the last step's rate is above 0.

    Raises:
        RecipeError: there is no such schedule.
    """
    if step < sft.warmup_steps:
        return sft.learning_rate * ((step + 1) / sft.warmup_steps)
    left = (sft.steps - step) / max(1, sft.steps - sft.warmup_steps)
    if sft.schedule == "constant":
        return sft.learning_rate
    if sft.schedule == "linear":
        return sft.learning_rate * left
    if sft.schedule == "cosine":
        return sft.learning_rate * 0.5 * (1 - math.cos(math.pi * left))
    raise RecipeError(f"There is no schedule '{sft.schedule}'; choose one of {', '.join(SCHEDULES)}.")
