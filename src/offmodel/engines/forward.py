"""One forward pass of a training: some sequences in, their summed loss out.

    T tokens of a forward pass, N target positions, D hidden size

This module refuses to know optimizers and steps. Invariant: a sequence's loss does not depend on which sequences share
its pass, nor on the layout.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offmodel.engines import attention, lean
from offmodel.engines.balance import TERM, Balance, chosen_per_token, real_tokens, routed
from offmodel.engines.losses import Frozen, Head, Targets, Term, log_likelihoods, target_loss
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Layout

# Elements of logits held at once: 16 MB of float32 fits a CPU's cache hierarchy, 512 MB keeps a GPU busy.
_LOGITS = {"cpu": 2**22, "cuda": 2**27}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """A frozen model: `switch()` is a context in which `decoder` is the reference's (it may share the trainee's)."""

    decoder: Any
    head: Head
    switch: Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Body:
    """What a forward pass needs of a model: `base` is the causal language model that holds decoder and head."""

    base: Any
    decoder: Any
    head: Head
    device: str
    compute: torch.dtype
    layout: Layout
    reference: Reference | None = None

    @property
    def master(self) -> torch.dtype:
        """float32, or float64 for a model that was made so: the dtype of losses and of weights under training."""
        return torch.float64 if self.head.weight_VD.dtype == torch.float64 else torch.float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trainee(Body):
    """A model under training: `model` is what is saved, the base or an adapter around it."""

    model: Any
    params: list[Tensor]
    optimizer: torch.optim.Optimizer


def autocast(body: Body) -> contextlib.AbstractContextManager[Any]:
    """The compute dtype's autocast; nothing for float32 and float64."""
    if body.compute.itemsize >= 4:
        return contextlib.nullcontext()
    return torch.autocast(body.device.split(":")[0], dtype=body.compute)


def forward_loss(
    body: Body, rows: list[Example], terms: Mapping[str, Term], balance: Balance | None = None
) -> dict[str, Tensor]:
    """The loss terms of some sequences, each summed over them, in one forward pass; with `balance` the routers' too."""
    # A last token predicts nothing; where the routers' load is counted, it counts too.
    last = balance is not None
    ids_T, at_N, targets = targets_of(rows, padded=body.layout == "padded", last=last)
    inputs = inputs_of(rows, ids_T, body, last=last)
    at_N = send(at_N, body.device)
    with autocast(body):
        frozen = frozen_at(body, inputs, at_N) if "kl" in terms else None
        if balance is None:
            hidden_ND, load = hidden_at(body.decoder, inputs, at_N), None
        else:
            hidden_TD, load = routed(body.decoder, inputs, _real(body, rows), chosen_per_token(body.base))
            hidden_ND = hidden_TD.index_select(0, at_N)
        here = Targets(send(targets.ids_N, body.device), send(targets.weights_N, body.device).to(body.master))
        chosen = tuple(terms.values())
        sums = target_loss(hidden_ND, body.head, here, chosen, chunk=chunk_of(body), reference=frozen)
    found = dict(zip(terms, sums, strict=True))
    return found if balance is None or load is None else found | {TERM: balance.loss(load)}


@torch.no_grad()
def count_choices(body: Body, rows: list[Example]) -> Tensor:
    """How often the routers choose each expert for some sequences, [E], in one forward pass."""
    ids_T, _, _ = targets_of(rows, padded=body.layout == "padded")
    with autocast(body):
        inputs = inputs_of(rows, ids_T, body)
        return routed(body.decoder, inputs, _real(body, rows), chosen_per_token(body.base))[1].chosen_E


def _real(body: Body, rows: list[Example]) -> Tensor:
    return send(torch.from_numpy(real_tokens(rows, padded=body.layout == "padded")), body.device)


def send(tensor: Tensor, device: str) -> Tensor:
    """A tensor of the host on the device; the host does not wait for a GPU."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else tensor


def chunk_of(body: Body) -> int:
    """Positions whose logits are held at once."""
    return max(1, _LOGITS[body.device.split(":")[0]] // body.head.weight_VD.shape[0])


def hidden_at(decoder: Any, inputs: dict[str, Any], at_N: Tensor) -> Tensor:
    """Hidden states [N, D] at some flat positions."""
    with lean.ending(decoder, at_N) as shortened:
        hidden = decoder(**inputs, use_cache=False).last_hidden_state
    return hidden[0] if shortened else hidden.flatten(0, 1).index_select(0, at_N)


@torch.no_grad()
def frozen_at(body: Body, inputs: dict[str, Any], at_N: Tensor) -> Frozen:
    """What the reference makes of some flat positions."""
    assert body.reference is not None
    with body.reference.switch():
        return Frozen(hidden_at(body.reference.decoder, inputs, at_N), body.reference.head)


@torch.no_grad()
def reference_likelihoods(body: Body, rows: list[Example]) -> list[np.ndarray]:
    """The reference's log-probability of each target of some sequences, float32 [targets] each, in one forward pass."""
    ids_T, at_N, targets = targets_of(rows, padded=body.layout == "padded")
    with autocast(body):
        frozen = frozen_at(body, inputs_of(rows, ids_T, body), at_N.to(body.device))
        ids_N = targets.ids_N.to(body.device)
        found = log_likelihoods(frozen.hidden_ND, frozen.head, ids_N, chunk=chunk_of(body))
    counts = [int(e.mask[1:].sum()) for e in rows]
    return np.split(found.float().cpu().numpy(), np.cumsum(counts)[:-1])


_PROBES = (5, 9)


@torch.no_grad()
def lone_hidden(body: Body) -> Tensor:
    """Hidden states [T, D] of short probe sequences, each in a pass of its own."""
    with autocast(body):
        rows = [torch.arange(n, device=body.device)[None] for n in _PROBES]
        return torch.cat([body.decoder(input_ids=ids, use_cache=False).last_hidden_state[0].float() for ids in rows])


@torch.no_grad()
def layout_holds(body: Body, expected_TD: Tensor) -> bool:
    """Whether the trainee's packed layout gives the probes the hidden states that they have alone."""
    rows = [Example(np.arange(n, dtype=np.int32), np.ones(n, np.bool_)) for n in _PROBES]
    ids, _, _ = targets_of(rows, padded=False)
    try:
        with autocast(body), attention.windows() as windows:
            found = body.decoder(**inputs_of(rows, ids, body), use_cache=False).last_hidden_state[0].float()
    except (ImportError, RuntimeError, TypeError, ValueError, NotImplementedError):
        return False
    # The probes are shorter than most windows. Some models tell them to their mask alone, which varlen does not have.
    if body.layout == "varlen" and attention.asks_for_windows(body.decoder.config) and not any(windows):
        return False
    tolerance = 1e-3 if body.compute.itemsize >= 4 else 5e-2
    return float((found - expected_TD).abs().max()) <= tolerance * float(expected_TD.abs().max())


@torch.no_grad()
def ending_holds(body: Body) -> bool:
    """Whether a shortened end of the decoder gives the hidden states of the whole one."""
    rows = [Example(np.arange(n, dtype=np.int32), np.arange(n) % 3 == 1) for n in _PROBES]
    ids, at_N, _ = targets_of(rows, padded=False)
    inputs = inputs_of(rows, ids, body)
    whole_TD = body.decoder(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)
    try:
        found_ND = hidden_at(body.decoder, inputs, at_N)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    expected_ND = whole_TD.index_select(0, at_N)
    return found_ND.shape == expected_ND.shape and torch.allclose(found_ND, expected_ND, atol=1e-5, rtol=1e-4)


def inputs_of(rows: list[Example], ids_T: np.ndarray, body: Body, *, last: bool = True) -> dict[str, Any]:
    """Keyword arguments of the decoder, without any attention mask; `last` is that of `targets_of`.

    Causality shields real tokens from padding on the right, and transformers keeps packed sequences apart only without
    a mask and without a cache.
    """
    ids = send(torch.from_numpy(ids_T), body.device)
    if body.layout == "padded":
        return {"input_ids": ids}
    lengths = _lengths(rows, last=last)
    positions = np.concatenate([np.arange(n) for n in lengths])
    found: dict[str, Any] = {"input_ids": ids, "position_ids": send(torch.from_numpy(positions)[None], body.device)}
    if body.layout == "varlen":
        found |= attention.boundaries(lengths, body.device)
    return found


def targets_of(rows: list[Example], *, padded: bool, last: bool = True) -> tuple[np.ndarray, Tensor, Targets]:
    """Token ids [rows, longest] or [1, T], the flat positions that predict a target, and these targets.

    Args:
        rows: the sequences.
        padded: whether they are padded to the longest, or packed.
        last: whether their last tokens, which predict nothing, are among the ids.
    """
    lengths = _lengths(rows, last=last)
    width = max(lengths)
    starts = np.arange(len(rows)) * width if padded else np.cumsum([0, *lengths[:-1]])
    asked = [asked_of(e) for e in rows]
    at = np.concatenate([s + a.at for s, a in zip(starts, asked, strict=True)])
    wanted = np.concatenate([a.ids for a in asked])
    weights = np.concatenate([a.weights for a in asked])
    if padded:
        ids = np.zeros((len(rows), width), dtype=np.int64)
        for row, e, n in zip(ids, rows, lengths, strict=True):
            row[:n] = e.ids[:n]
    else:
        ids = np.concatenate([e.ids[:n] for e, n in zip(rows, lengths, strict=True)])[None].astype(np.int64)
    targets = Targets(torch.from_numpy(wanted), torch.from_numpy(weights))
    return ids, torch.from_numpy(at), targets


def _lengths(rows: list[Example], *, last: bool) -> list[int]:
    return [len(e.ids) - (not last) for e in rows]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a sequence is to predict.

    Attributes:
        at: int64 [targets], the positions that predict.
        ids: int64 [targets], the tokens to be predicted.
        weights: float32 [targets], how much each counts.
        total: the sum of the weights.
    """

    at: np.ndarray
    ids: np.ndarray
    weights: np.ndarray
    total: float


@lru_cache(maxsize=4096)
def asked_of(example: Example) -> Asked:
    """The targets of an example, which is drawn many times; a first token has no predecessor and cannot be one."""
    mask = example.mask[1:]
    at = np.flatnonzero(mask)
    weights = np.ones(len(at), np.float32) if example.weights is None else example.weights[1:][mask]
    return Asked(at, example.ids[1:][mask].astype(np.int64), weights, float(weights.sum()))


def weights_of(example: Example) -> np.ndarray:
    """Weights of an example's targets, float32 [targets]."""
    return asked_of(example).weights
