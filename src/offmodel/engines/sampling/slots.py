"""A preallocated key-value cache of slots, and attention on it.

    S slots (sequences that decode together), R rows of one forward pass, H query heads, G key and value heads,
    Q new tokens a row, C capacity of a slot in tokens, K tokens attended to, D head size

Each slot holds one sequence from position 0 on. A prompt is written by a forward pass padded on the right: real tokens
never see the padding behind them, and what padding leaves in the cache is overwritten or masked. This module refuses to
know which requests sit in the slots. Invariant: a row attends to positions up to its own and to no other slot.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from offmodel.core.errors import ModelError

NAME = "offmodel_slots"


class Slots(Cache):
    """Keys and values of S sequences, for models that call `update` and our attention.

    Attributes:
        span: while prompts are written, the slots of the present forward pass.
        lanes: while prompts are written, L; row (lane * R / L + r) of the pass goes into slot (r * L + lane).
        at_R: for decoding, the position that each of the first R slots writes; None while prompts are written.
        mask_R11K: for decoding, what each row attends to.
    """

    def __init__(self, layers: int, slots: int, capacity: int):
        super().__init__(layers=[])
        self.capacity, self.slots = capacity, slots
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self.span, self.lanes = slice(0, 0), 1
        self.at_R: Tensor | None = None
        self.mask_R11K: Tensor | None = None
        self._all_S: Tensor | None = None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """0: positions are always given to the model."""
        return 0

    def fill(self, span: slice, lanes: int = 1) -> None:
        """The next forward pass writes prompts into these slots, lane after lane."""
        self.span, self.lanes, self.at_R, self.mask_R11K = span, lanes, None, None

    def decode(self, at_R: Tensor, longest: int) -> None:
        """The next forward pass adds one token to each of the first R slots, at these positions, all < longest."""
        self.at_R = at_R
        # Kernels want rows of masks aligned to 8 elements.
        width = min(self.capacity, -(-longest // 8) * 8)
        self.mask_R11K = (torch.arange(width, device=at_R.device) <= at_R[:, None])[:, None, None]
        self._all_S = torch.arange(len(at_R), device=at_R.device)

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy some slots over others."""
        for tensor in (*self.keys, *self.values):
            if tensor is not None:
                tensor[target] = tensor[source]

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """Store [R, G, Q, D]; give back what the rows attend to."""
        k_store, v_store = self._stores(key_states, value_states, layer_idx)
        if self.at_R is None:
            width = key_states.shape[2]
            for store, states in ((k_store, key_states), (v_store, value_states)):
                place = store[self.span, :, :width].unflatten(0, (-1, self.lanes)).transpose(0, 1)
                place.copy_(states.unflatten(0, (self.lanes, -1)))
                # Masked positions meet the softmax too: what a broken adapter left there may be no number.
                store[self.span, :, width:].zero_()
            return key_states, value_states
        assert self.mask_R11K is not None
        rows, width = len(self.at_R), self.mask_R11K.shape[-1]
        k_store[self._all_S, :, self.at_R] = key_states[:, :, 0]
        v_store[self._all_S, :, self.at_R] = value_states[:, :, 0]
        return k_store[:rows, :, :width], v_store[:rows, :, :width]

    def _stores(self, key_states: Tensor, value_states: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        k_store, v_store = self.keys[layer], self.values[layer]
        if k_store is None or v_store is None:
            groups = key_states.shape[1]
            # Zeros, not empty: a masked position still meets the softmax, where a NaN left in memory would spread.
            k_store = key_states.new_zeros(self.slots, groups, self.capacity, key_states.shape[-1])
            v_store = value_states.new_zeros(self.slots, groups, self.capacity, value_states.shape[-1])
            self.keys[layer], self.values[layer] = k_store, v_store
        return k_store, v_store


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    slots: Slots,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_ignored: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: [R, H, Q, D] in, [R, Q, H, D] out."""
    if softcap is not None or attention_mask is not None:
        raise ModelError("This model caps its attention scores or masks positions, which the sampler does not know.")
    rows, heads, _, size = query.shape
    groups = key.shape[1]
    if slots.at_R is None:
        out = _prompt(query, key, value, scaling, sliding_window)
        return out.transpose(1, 2), None
    mask = slots.mask_R11K
    assert mask is not None
    if sliding_window is not None:
        recent = torch.arange(mask.shape[-1], device=mask.device) > slots.at_R[:, None] - sliding_window
        mask = mask & recent[:, None, None]
    # Query heads that share a key head stand as its query positions: no repeated keys in memory.
    grouped = query.reshape(rows, groups, heads // groups, size)
    out = F.scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(rows, 1, heads, value.shape[-1]), None


def _prompt(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None) -> Tensor:
    length, repeats = query.shape[2], query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    if window is None or length <= window:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    at = torch.arange(length, device=query.device)
    near = (at[:, None] >= at) & (at[:, None] - at < window)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=near, scale=scaling)


AttentionInterface.register(NAME, attend)
