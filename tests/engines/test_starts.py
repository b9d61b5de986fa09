"""A start without PEFT is PEFT's start, bit for bit."""

from dataclasses import replace

import pytest
import torch

from offmodel.core.errors import RecipeError
from offmodel.engines import adapters
from offmodel.engines.folders import load_model
from offmodel.engines.sft import Lora
from offmodel.engines.starts import Starts
from tests.engines.test_cohort import PLAIN


def same(a, b):
    return a[:2] == b[:2] and all(torch.equal(x, y) and x.dtype == y.dtype for x, y in zip(a[2], b[2], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_starts_are_pefts(llama, tmp_path, dtype, monkeypatch):
    base = load_model(llama, dtype=dtype, device="cpu")
    settings = [
        replace(PLAIN, seed=s, lora=Lora(rank=r, alpha=8, targets="all-linear")) for s, r in ((1, 4), (2, 4), (9, 8))
    ]
    expected = [adapters.start_of(base, None, s) for s in settings]
    saved = tmp_path / "adapter"
    adapters.write_adapter(saved, dict(zip(expected[0][0], expected[0][2], strict=True)), expected[0][1])
    resumed = adapters.start_of(base, saved, settings[0])
    starts, asked = Starts(base), []
    monkeypatch.setattr(
        adapters, "inject", lambda *a, wrapped=adapters.inject, **k: asked.append(a) or wrapped(*a, **k)
    )
    for s, e in zip(settings, expected, strict=True):
        assert same(starts.of(None, s), e)
    assert same(starts.of(saved, settings[1]), resumed)
    assert len(asked) == 2, "PEFT is asked once for each kind of adapter"
    with pytest.raises(RecipeError, match="rank"):
        starts.of(saved, settings[2])


def test_where_peft_draws_otherwise_peft_is_asked(llama, monkeypatch):
    base = load_model(llama, dtype=torch.float32, device="cpu")
    monkeypatch.setattr(Starts, "_drawn", lambda self, like, seed: [t + 1 for t in like])
    starts = Starts(base)
    for seed in (1, 2):
        s = replace(PLAIN, seed=seed)
        assert same(starts.of(None, s), adapters.start_of(base, None, s))
