"""Optimizers and schedules: each learns, and each goes on after a kill as if nothing had happened."""

from dataclasses import replace

import pytest

from offmodel.core.errors import UnknownName
from offmodel.engines.optimizers import rate_at
from offmodel.engines.sft import OPTIMIZERS
from tests.engines.conftest import BASE
from tests.engines.test_sft import Killed, go, losses, same


def test_a_constant_rate_after_a_warm_up():
    chosen = replace(BASE, learning_rate=1.0, warmup_steps=4, steps=10)
    assert [rate_at(chosen, s) for s in (0, 1, 3, 4, 9)] == [0.25, 0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_falling_rate_starts_at_the_top_and_ends_above_nothing(schedule):
    chosen = replace(BASE, learning_rate=1.0, warmup_steps=2, steps=10, schedule=schedule)
    rates = [rate_at(chosen, s) for s in range(2, 10)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.2


@pytest.mark.parametrize(("field", "name"), [("optimizer", "adam"), ("schedule", "cosin")])
def test_unknown_names_are_refused_before_anything_is_loaded(field, name):
    with pytest.raises(UnknownName, match=field):
        replace(BASE, **{field: name})


RATES = {"adamw": 1e-2, "sgd": 0.3, "adafactor": 1e-2}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_learns_and_resumes_to_the_bit(llama, tmp_path, optimizer):
    sft = replace(
        BASE, optimizer=optimizer, schedule="cosine", learning_rate=RATES[optimizer], steps=12, checkpoints=(12,)
    )

    def killer(fraction, text=""):
        if fraction == 0.5:
            raise Killed

    whole, _ = go(llama, tmp_path, "whole", sft=sft)
    found = [r["loss"] for r in losses(whole)]
    assert sum(found[-3:]) < sum(found[:3])
    with pytest.raises(Killed):
        go(llama, tmp_path, "cut", sft=sft, progress=killer, resume_every_s=0.0)
    cut, facts = go(llama, tmp_path, "cut", sft=sft, resume_every_s=0.0)
    assert facts["resumed_from_step"] == 6
    assert same(whole / "step-00012", cut / "step-00012")
