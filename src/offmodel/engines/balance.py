"""The load-balancing loss of a mixture's routers, over a step's whole batch.

    T tokens of a forward pass, padding included, E experts, K experts that a token chooses

The loss is E x the sum over experts of (share of choices x mean probability), both over all layers and all tokens of
the batch. A pass sees a part of these tokens, so choices are counted over the batch first; they have no gradient. This
module refuses to know how a batch is split. Invariant: the passes' values add up to what transformers computes of the
whole batch at once, whatever the passes and processes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offmodel.core.errors import RecipeError
from offmodel.engines.objective import LoadBalancing, Objective
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Sft

TERM = "load_balancing"


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What the routers did with some tokens, summed over tokens and layers.

    Attributes:
        chosen_E: how often each expert was chosen; no gradient.
        likely_E: sum of the probabilities given to each expert.
        layers: layers that have routers.
    """

    chosen_E: Tensor
    likely_E: Tensor
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Balance:
    """What a pass must know of its step's batch.

    Attributes:
        asked: the term's settings.
        tokens: tokens of the whole batch, without padding.
        unit: what sums of loss terms are divided by later; the value is multiplied by it.
        chosen_E: the whole batch's choices; None where this process makes one pass, which counts them itself.
        add_up: the sum over processes.
    """

    asked: LoadBalancing
    tokens: int
    unit: float
    chosen_E: Tensor | None
    add_up: Callable[[Tensor], Tensor]

    def loss(self, load: Load) -> Tensor:
        """This pass' part of the weighted loss, a scalar."""
        seen = self.tokens * load.layers
        chosen_E = self.add_up(load.chosen_E) if self.chosen_E is None else self.chosen_E
        shares_E = chosen_E / seen
        return self.asked.weight * self.unit * load.likely_E.shape[0] * (shares_E * load.likely_E / seen).sum()


def balance_for(
    objective: Objective,
    batch: Sequence[Example],
    passes: Sequence[list[int]],
    *,
    unit: float,
    count: Callable[[list[Example]], Tensor],
    add_up: Callable[[Tensor], Tensor],
) -> Balance | None:
    """What the passes of a step must know; None where no load is balanced.

    Args:
        objective: what is minimised.
        batch: the whole batch.
        passes: the passes of this process, as indices into the batch.
        unit: see `Balance`.
        count: choices [E] of some sequences, without gradients.
        add_up: the sum over processes.
    """
    if objective.load_balancing is None:
        return None
    chosen_E = None
    if len(passes) > 1:
        # Gradients of an early pass need the choices of the later ones, so all are counted in passes of their own.
        chosen_E = add_up(torch.stack([count([batch[i] for i in part]) for part in passes]).sum(0))
    tokens = sum(len(e.ids) for e in batch)
    return Balance(asked=objective.load_balancing, tokens=tokens, unit=unit, chosen_E=chosen_E, add_up=add_up)


def routed(decoder: Any, inputs: dict[str, Any], real_T: Tensor, top: int) -> tuple[Tensor, Load]:
    """Last hidden states [T, D] and what the routers did with the tokens that are real."""
    out = decoder(**inputs, use_cache=False, output_router_logits=True)
    return out.last_hidden_state.flatten(0, 1), load_of(out.router_logits, real_T, top)


def load_of(logits: Sequence[Tensor], real_T: Tensor, top: int) -> Load:
    """Add up choices and probabilities of all layers; `real_T` is 1 for a token and 0 for padding."""
    like = logits[0] if logits[0].dtype == torch.float64 else logits[0].float()
    real_T = real_T.to(like.dtype)
    chosen_E, likely_E = like.new_zeros(like.shape[-1]), like.new_zeros(like.shape[-1])
    for layer_TE in logits:
        share_TE = torch.softmax(layer_TE.to(like.dtype), -1)
        choice_TK = share_TE.detach().topk(top, dim=-1).indices
        chosen_E = chosen_E.scatter_add(0, choice_TK.flatten(), real_T.repeat_interleave(top))
        likely_E = likely_E + (real_T[:, None] * share_TE).sum(0)  # autocast would make a matrix product 16-bit
    return Load(chosen_E, likely_E, len(logits))


def real_tokens(rows: Sequence[Example], *, padded: bool) -> np.ndarray:
    """Which positions of a pass hold a token, bool [T]."""
    lengths = np.array([len(e.ids) for e in rows])
    if not padded:
        return np.ones(lengths.sum(), np.bool_)
    return (np.arange(lengths.max()) < lengths[:, None]).ravel()


def chosen_per_token(base: Any) -> int:
    """Experts that a token chooses."""
    return int(base.config.get_text_config().num_experts_per_tok)


def check_mixture(model: Path, sft: Sft) -> None:
    """Refuse to balance the load of a model without experts, before it is loaded.

    Raises:
        RecipeError: the model's config names no experts.
    """
    file = Path(model) / "config.json"
    if sft.objective.load_balancing is None or not file.is_file():
        return
    config = json.loads(file.read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    if not any(config.get(name) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise RecipeError(
            f"A load-balancing loss is asked for, and this model ({config.get('model_type', 'of no type')}) is no "
            "mixture of experts; leave load_balancing out of the objective."
        )
