"""Forward and backward passes that several members share.

    T tokens of a pass, N target positions, K members

A pass holds sequences of any members, sorted by member. Members with a divergence in their objective get passes of
their own, since these also need the reference. This module refuses to know optimizers and schedules. Invariant: a
member's loss and gradient do not depend on who shares its passes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from offmodel.engines.bank import Bank
from offmodel.engines.batches import Limit, micro_batches
from offmodel.engines.forward import (
    Body,
    autocast,
    chunk_of,
    frozen_at,
    hidden_at,
    inputs_of,
    send,
    targets_of,
    weights_of,
)
from offmodel.engines.losses import TERMS, Targets, target_loss
from offmodel.engines.rendering import Example
from offmodel.engines.segments import right_way, segments_of


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A sequence of a step: whose it is, and the weight of all target tokens of that member's batch."""

    row: int
    example: Example
    total: float


Factors = dict[str, float]
"""Weights of a member's terms at its present step, by name: cross_entropy, forward_kl, reverse_kl."""
Static = Callable[[Sequence[Entry], Sequence[float], Sequence[Factors], Limit], dict[str, Tensor]]
"""Passes of fixed shapes: entries of equal terms, scales, factors and limit in, each term's losses by row out."""


def summed_losses(
    body: Body,
    bank: Bank,
    entries: Sequence[Entry],
    scales: Sequence[float],
    factors: Sequence[Factors],
    limit: Limit,
    static: Static | None = None,
) -> dict[int, dict[str, Tensor]]:
    """Add the gradients of every member's mean loss to the bank.

    Args:
        body: the base.
        bank: the adapters.
        entries: the sequences of one step of each member.
        scales: alpha / rank of each row.
        factors: each row's terms.
        limit: of one pass.
        static: takes members of equal terms in passes of fixed shapes, and gives each term's losses by row.

    Returns:
        For each row that has sequences, its terms ("cross_entropy", "kl") as vectors over rows.
    """
    found: dict[str, Tensor] = {}
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(tuple(sorted(factors[entry.row])), []).append(entry)
    for names, members in groups.items():
        if static is not None:
            for n, losses in static(members, scales, factors, limit).items():
                # Another group's vector may be there, and has zeros in these rows.
                found[n] = found.get(n, 0.0) + losses[: bank.used]
            continue
        weights = {n: torch.tensor([f.get(n, 0.0) for f in factors], dtype=body.master) for n in names}
        weights = {n: send(w, body.device) for n, w in weights.items()}
        for part in passes_of(members, limit, padded=body.layout == "padded"):
            sums = _forward(body, bank, part, scales, names)
            values = {n: sums[n] * weights[n] for n in names}
            torch.stack(list(values.values())).sum().backward()
            for n, value in values.items():
                found[n] = found.get(n, 0.0) + value.detach()
    # A row without sequences, of a member that has no step to take, may want terms that no other has.
    return {
        k: {_called(n): found[n] for n in names} for k, names in enumerate(factors) if all(n in found for n in names)
    }


def _called(term: str) -> str:
    return "cross_entropy" if term == "cross_entropy" else "kl"


def passes_of(entries: Sequence[Entry], limit: Limit, *, padded: bool) -> list[list[Entry]]:
    """Split the sequences of a step into passes, each sorted by member.

    Where there is padding, rows of like length share a pass. Else members stay together: a pass then reads few members'
    adapters, each for many tokens.
    """
    if padded:
        parts = micro_batches([len(e.example.ids) for e in entries], limit, padded=True)
        return [sorted((entries[i] for i in part), key=lambda e: e.row) for part in parts]
    passes: list[list[Entry]] = []
    used = 0
    for entry in sorted(entries, key=lambda e: e.row):
        length = len(entry.example.ids)
        rows = len(passes[-1]) + 1 if passes else 1
        if passes and used + length <= limit.tokens and (limit.rows is None or rows <= limit.rows):
            passes[-1].append(entry)
            used += length
        else:
            passes.append([entry])
            used = length
    return passes


def _forward(
    body: Body, bank: Bank, part: list[Entry], scales: Sequence[float], names: tuple[str, ...]
) -> dict[str, Tensor]:
    rows, padded = [e.example for e in part], body.layout == "padded"
    ids_T, at_N, targets = targets_of(rows, padded=padded)
    inputs = inputs_of(rows, ids_T, body)
    at_N = send(at_N, body.device)
    counts = torch.tensor([len(weights_of(e.example)) for e in part])
    bins_N = torch.repeat_interleave(torch.tensor([e.row for e in part]), counts)
    totals_N = torch.repeat_interleave(torch.tensor([e.total for e in part], dtype=torch.float64), counts)
    weights_N = (targets.weights_N.double() / totals_N).to(body.master)
    ids_N, weights_N, bins_N = (send(x, body.device) for x in (targets.ids_N, weights_N, bins_N))
    here = Targets(ids_N, weights_N, bins_N, bank.used)
    first, behind = part[0].row, part[-1].row + 1
    lengths = [0] * (behind - first)
    for e in part:
        lengths[e.row - first] += ids_T.shape[1] if padded else len(e.example.ids)
    way = right_way(body.device, body.compute)
    segments = segments_of(lengths, list(scales[first:behind]), way, body.device, body.compute)
    bank.window = slice(first, behind)
    terms = [TERMS[n] for n in names]
    with autocast(body):
        bank.segments = None
        frozen = frozen_at(body, inputs, at_N) if any(n != "cross_entropy" for n in names) else None
        bank.segments = segments
        hidden_ND = hidden_at(body.decoder, inputs, at_N)
        sums = target_loss(hidden_ND, body.head, here, terms, chunk=chunk_of(body), reference=frozen)
    return dict(zip(names, sums, strict=True))
