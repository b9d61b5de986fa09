"""Samples from a model that is under training, from its weights in memory.

The sampler for evaluation loads folders and keeps a model of its own; here the weights change at every step. This
module refuses to know what is done with the samples. Invariant: the model is left as it was found.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from offmodel.engines import attention
from offmodel.engines.forward import Trainee, autocast
from offmodel.engines.rendering import Example, Renderer

if TYPE_CHECKING:
    from offmodel.engines.on_policy import Rollouts


def roll_out(
    trainee: Trainee, prompts: Sequence[Sequence[int]], rollouts: "Rollouts", renderer: Renderer, *, seed: int
) -> list[Example]:
    """One completion a prompt, as training sequences whose targets are the sampled tokens, the stop token included.

    Args:
        trainee: the model.
        prompts: token ids, none empty.
        rollouts: temperature and length.
        renderer: for stop and pad tokens.
        seed: of the draws.
    """
    from transformers import GenerationConfig

    width = max(len(p) for p in prompts)
    ids = np.full((len(prompts), width), renderer.pad_id, np.int64)
    real = np.zeros((len(prompts), width), np.int64)
    for row, seen, prompt in zip(ids, real, prompts, strict=True):
        row[width - len(prompt) :] = prompt
        seen[width - len(prompt) :] = 1
    config = GenerationConfig(
        do_sample=True,
        temperature=rollouts.temperature,
        top_k=0,
        top_p=1.0,
        max_new_tokens=rollouts.max_new_tokens,
        eos_token_id=list(renderer.stop_ids),
        pad_token_id=renderer.pad_id,
    )
    inputs = {
        "input_ids": torch.from_numpy(ids).to(trainee.device),
        "attention_mask": torch.from_numpy(real).to(trainee.device),
    }
    base, devices = trainee.base, [trainee.device] if trainee.device.startswith("cuda") else []
    # The model's own generation config would add what it holds: a repetition penalty, say.
    own, base.generation_config = base.generation_config, config
    if trainee.layout == "varlen":
        base.set_attn_implementation("sdpa")
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad(), autocast(trainee):
            torch.manual_seed(seed)
            out = base.generate(**inputs)
    finally:
        base.generation_config = own
        if trainee.layout == "varlen":
            base.set_attn_implementation(attention.NAME)
    made = out[:, width:].cpu().numpy()
    return [_example(p, row, renderer.stop_ids) for p, row in zip(prompts, made, strict=True)]


def _example(prompt: Sequence[int], row: np.ndarray, stops: tuple[int, ...]) -> Example:
    ends = np.flatnonzero(np.isin(row, stops))
    row = row[: ends[0] + 1] if len(ends) else row
    ids = np.concatenate([np.asarray(prompt, np.int32), row.astype(np.int32)])
    mask = np.zeros(len(ids), np.bool_)
    mask[len(prompt) :] = True
    return Example(ids, mask)
