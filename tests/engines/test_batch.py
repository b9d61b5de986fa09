"""The decoding loop against a decoder that writes down who stands where: nothing is lost, mixed or cut wrongly."""

from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from offmodel.engines.sampling import Request, Sampling, batch
from offmodel.engines.sampling.batch import Batch
from tests.engines.conftest import silent

COLD = Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32")
UNIT = 8
"""Rows of a step are rounded up to it, as for graphs."""


class Ledger:
    """A decoder whose tokens say whose they are: the nth of a prompt that begins with k is 1000 k + n.

    A row is done once it has written as many tokens as the second number of its prompt says.
    """

    device = "cpu"

    def __init__(self, slots: int, most: int, lanes: int):
        self.slots, self.lanes, self.passes = slots, lanes, list[int]()
        self.out_SN = torch.zeros(slots, most, dtype=torch.int64)
        self.done_S = torch.zeros(slots, dtype=torch.bool)
        self.who, self.ends, self.made, self.length = (np.zeros(slots, dtype=np.int64) for _ in range(4))

    def prefill(
        self, first: int, ids: np.ndarray, lengths: np.ndarray, draws: np.ndarray, temperature: float, lanes: int
    ) -> None:
        span = slice(first, first + len(ids))
        assert span.stop <= self.slots
        assert lanes == self.lanes
        assert first % lanes == len(ids) % lanes == 0
        self.passes.append(ids.size)
        self.who[span], self.length[span], self.made[span], self.done_S[span] = ids[:, 0], lengths, 0, False
        self.ends[span] = ids[:, 1] if ids.shape[1] > 1 else 0
        self._write(span)

    def step(self, busy: int, longest: int, temperature: float) -> None:
        rows = slice(0, min(self.slots, -(-busy // UNIT) * UNIT))
        assert 0 < busy <= self.slots
        self._write(rows)

    def move(self, source: np.ndarray, target: np.ndarray) -> None:
        assert not set(source.tolist()) & set(target.tolist())
        assert (source % self.lanes == target % self.lanes).all()
        for values in (self.out_SN, self.done_S, self.who, self.ends, self.made, self.length):
            values[target] = values[source]

    def _write(self, rows: slice) -> None:
        for slot in range(rows.start, rows.stop):
            self.out_SN[slot, min(self.made[slot], self.out_SN.shape[1] - 1)] = 1000 * self.who[slot] + self.made[slot]
            self.made[slot] += 1
            if self.made[slot] >= self.ends[slot]:
                self.done_S[slot] = True


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
@pytest.mark.parametrize("look", [1, 8])
def test_each_request_gets_its_own_tokens_whatever_waits_and_ends(monkeypatch, lanes: int, look: int) -> None:
    monkeypatch.setitem(batch.LOOK, "cpu", look)
    monkeypatch.setitem(batch.PROMPT_TOKENS, "cpu", 40)
    for trial in range(60):
        rng, number = Random(trial), 0
        asked: list[list[Request]] = []
        for _ in range(lanes):
            lane = []
            for _ in range(rng.choice([0, 1, 3, 9, 20])):
                number += 1
                ids = (number, rng.randint(1, 30), *range(rng.randint(0, 6)))
                lane.append(Request(ids, rng.randint(1, 25)))
            asked.append(lane)
        longest = max(map(len, asked))
        if not longest:
            continue
        rows = rng.randint(1, longest)
        ledger: Any = Ledger(rows * lanes, 25 + look, lanes)
        known = {0: [5, 5]} if asked[0] else {}
        finished: list[dict[int, list[int]]] = [dict(known), *({} for _ in asked[1:])]
        Batch(ledger, asked, COLD, rows=rows, finished=finished).run([silent] * lanes)
        for lane, requests in enumerate(asked):
            assert sorted(finished[lane]) == list(range(len(requests)))
            for i, request in enumerate(requests):
                if lane == 0 and i in known:
                    assert finished[lane][i] == known[i]
                    continue
                first, ends = request.ids[:2]
                found = finished[lane][i]
                # What is written until somebody looks stays, behind a stop token; never more than was asked.
                assert found == [1000 * first + n for n in range(len(found))]
                assert min(ends, request.max_new_tokens) <= len(found) <= request.max_new_tokens
                assert len(found) <= ends + look
        assert all(size <= max(40, lanes * 8) for size in ledger.passes)


def test_on_a_gpu_those_that_may_write_most_begin_first():
    asked = [[Request((1,) * 9, 4), Request((1,), 30), Request((1,) * 3, 30), Request((1,) * 5, 4)]]
    orders = {}
    for device in ("cpu", "cuda:0"):
        ledger: Any = Ledger(4, 40, 1)
        ledger.device = device
        orders[device] = Batch(ledger, asked, COLD, rows=2, finished=[{}])._waiting
    assert orders == {"cpu": [[0, 3, 2, 1]], "cuda:0": [[2, 1, 0, 3]]}
