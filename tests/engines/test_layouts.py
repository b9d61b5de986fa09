"""How sequences share a forward pass: each is what it is alone, and a layout that leaks is not used."""

import numpy as np
import pytest
import torch

from offmodel.core.errors import ModelError
from offmodel.engines import attention, forward
from offmodel.engines.rendering import Example
from tests.engines.conftest import examples
from tests.engines.test_sft import go, trainee


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_sequences_without_padding_are_what_they_are_alone_with_windows_and_groups_too(request, name):
    made = trainee(request.getfixturevalue(name), "varlen", double=True)
    rows = [Example(np.arange(5, 5 + n, dtype=np.int32), np.ones(n, np.bool_)) for n in (3, 30, 1, 17)]
    ids, _, _ = forward.targets_of(rows, padded=False)
    with torch.no_grad():
        found = made.decoder(**forward.inputs_of(rows, ids, made), use_cache=False).last_hidden_state[0]
        made.base.set_attn_implementation("sdpa")
        alone = [made.decoder(torch.tensor(e.ids[None].astype(np.int64))).last_hidden_state[0] for e in rows]
    assert torch.allclose(found, torch.cat(alone), atol=1e-10)


def test_packed_sequences_do_not_see_each_other(llama):
    """The library's cache and its all-ones mask both leak between packed samples; our inputs must not."""
    rows = examples(3)
    made = trainee(llama, "packed")
    ids, _, _ = forward.targets_of(rows, padded=False)
    inputs = forward.inputs_of(rows, ids, made)
    assert "attention_mask" not in inputs
    with torch.no_grad():
        packed = made.decoder(**inputs, use_cache=False).last_hidden_state[0]
        alone = torch.cat([made.decoder(torch.tensor(e.ids[None].astype(np.int64))).last_hidden_state[0] for e in rows])
        leaky = made.decoder(**inputs, attention_mask=torch.ones(ids.shape, dtype=torch.long), use_cache=False)
    assert torch.allclose(packed, alone, atol=1e-5)
    assert not torch.allclose(leaky.last_hidden_state[0], alone, atol=1e-2)


def test_layout_that_this_machine_cannot_do_is_refused(llama, tmp_path, monkeypatch):
    ends = attention.boundaries
    monkeypatch.setattr(attention, "boundaries", lambda lengths, device: ends([sum(lengths)], device))
    with pytest.raises(ModelError, match="'varlen' do not stay apart"):
        go(llama, tmp_path, layout="varlen")


def test_layout_that_leaks_is_seen(llama, monkeypatch):
    made = trainee(llama, "packed")
    expected = forward.lone_hidden(made)
    assert forward.layout_holds(made, expected)
    inputs = forward.inputs_of
    masked = {"attention_mask": torch.ones(1, sum(forward._PROBES), dtype=torch.long)}
    monkeypatch.setattr(forward, "inputs_of", lambda *a: inputs(*a) | masked)
    assert not forward.layout_holds(made, expected)
