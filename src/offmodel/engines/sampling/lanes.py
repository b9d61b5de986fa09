"""Adapters of one model side by side, one a lane.

    L lanes, R rows of a pass (a multiple of L), Q tokens a row, D features in, O features out, K rank

In a decoding pass (Q = 1) row r belongs to lane r % L, so that the first n rows of each lane are the first n * L rows
of a pass, as the decoder wants its busy rows. In a pass over prompts (Q > 1) lane follows lane, so that nothing has to
be moved to bring a lane's tokens together. Refuses to know requests. Invariant: a row gets its own lane's update and no
other's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from offmodel.core.errors import ModelError
from offmodel.engines.sampling.inside import layer_of

Update = tuple[Tensor, Tensor]
"""A [K, D] and B [O, K] of one layer, the adapter's scale in B."""


class NoLanes(ModelError):
    """A model in which adapters cannot stand side by side."""


class LaneLinear(nn.Module):
    """A linear layer with L low-rank updates beside it."""

    def __init__(self, linear: nn.Linear, a_LDK: Tensor, b_LKO: Tensor):
        super().__init__()
        self.linear, self.a_LDK, self.b_LKO = linear, a_LDK, b_LKO

    @torch.no_grad()
    def write(self, updates: Sequence[Update | None]) -> None:
        """Exchange the updates, lane by lane; lower ranks and missing updates are zeros."""
        self.a_LDK.zero_()
        self.b_LKO.zero_()
        for a_DK, b_KO, update in zip(self.a_LDK, self.b_LKO, updates, strict=True):
            if update is not None:
                a_KD, b_OK = (part.to(a_DK.device) for part in update)
                a_DK[:, : len(a_KD)] = a_KD.T
                b_KO[: len(a_KD)] = b_OK.T

    def forward(self, x_RQD: Tensor) -> Tensor:
        """[R, Q, O].

        Raises:
            NoLanes: tokens come without their rows, so that nobody can say whose they are.
        """
        lanes = len(self.a_LDK)
        if x_RQD.ndim != 3 or x_RQD.shape[0] % lanes:
            raise NoLanes("This model mixes the tokens of its rows, so adapters cannot be sampled side by side.")
        out_RQO = self.linear(x_RQD)
        out_LNO, x_LND = _apart(out_RQO, lanes), _apart(x_RQD, lanes)
        # The sum in one product, as for an adapter alone: it is rounded once. Views: the layer's own output is changed.
        out_LNO.baddbmm_(torch.bmm(x_LND, self.a_LDK), self.b_LKO)
        return out_RQO


def _apart(values_RQD: Tensor, lanes: int) -> Tensor:
    """[L, N, D]: a view of the N tokens of each lane's rows."""
    rows, tokens, width = values_RQD.shape
    if tokens == 1:
        return values_RQD.view(rows // lanes, lanes, width).transpose(0, 1)
    return values_RQD.view(lanes, rows // lanes * tokens, width)


@dataclass(slots=True, eq=False)
class Lanes:
    """Adapters that were put into a model, one a lane.

    Attributes:
        model: in which they are.
        layers: by name.
    """

    model: Any
    layers: dict[str, LaneLinear]

    def take_out(self) -> None:
        """Give the model its own layers back."""
        for name, layer in self.layers.items():
            parent, _, child = name.rpartition(".")
            setattr(self.model.get_submodule(parent), child, layer.linear)

    def silence(self) -> bool:
        """False: passes of any number of rows must be possible without adapters."""
        return False

    def overwrite(self, adapter: Any) -> bool:
        """False: a single adapter belongs into every row."""
        return False

    def rewrite(self, updates: Sequence[dict[str, Update]]) -> bool:
        """Write other adapters over these, lane by lane; False if they do not fit."""
        found = {name: (layer.a_LDK.shape, layer.b_LKO.shape) for name, layer in self.layers.items()}
        if shapes_of(updates) != found:
            return False
        for name, layer in self.layers.items():
            layer.write([lane.get(name) for lane in updates])
        return True


def put_in_lanes(model: Any, updates: Sequence[dict[str, Update]]) -> Lanes:
    """Put adapters into a model, one a lane; a lane without updates is the model itself.

    Args:
        model: transformers' model.
        updates: of each lane, by layer.

    Raises:
        ModelError: an adapter changes what is no linear layer.
    """
    lanes = Lanes(model, {})
    try:
        for name, (a_shape, b_shape) in shapes_of(updates).items():
            holder, child, linear = layer_of(model, name)
            if (linear.in_features, linear.out_features) != (a_shape[1], b_shape[2]):
                raise ModelError(f"The adapter changes '{name}', which has another size in this model.")
            layer = LaneLinear(linear, linear.weight.new_zeros(a_shape), linear.weight.new_zeros(b_shape))
            layer.write([lane.get(name) for lane in updates])
            setattr(holder, child, layer)
            lanes.layers[name] = layer
    except BaseException:
        lanes.take_out()
        raise
    return lanes


def shapes_of(updates: Sequence[dict[str, Update]]) -> dict[str, tuple[torch.Size, torch.Size]]:
    """By layer, the shapes of A [L, D, K] and B [L, K, O], K the largest rank of a lane."""
    found = {}
    for name in dict.fromkeys(name for lane in updates for name in lane):
        known = [lane[name] for lane in updates if name in lane]
        rank = max(a_KD.shape[0] for a_KD, _ in known)
        a_KD, b_OK = known[0]
        found[name] = (
            torch.Size((len(updates), a_KD.shape[1], rank)),
            torch.Size((len(updates), rank, b_OK.shape[0])),
        )
    return found
