"""Graphs that are captured, replayed, dropped and given up, with stand-ins for CUDA's part."""

import contextlib
from dataclasses import replace

import pytest
import torch

from offmodel.core.errors import OutOfMemory
from offmodel.engines import cohort_pass, loop, static_pass
from offmodel.engines.graphs import Graphs
from offmodel.engines.sft import Lora
from tests.engines.conftest import examples
from tests.engines.test_cohort import MEMBERS, PLAIN, alone, equal, member
from tests.engines.test_graphs import together


class Stream:
    """Stands for a CUDA stream."""

    def __init__(self, *_):
        self.waited = []

    def wait_stream(self, other):
        self.waited.append(other)


class Graph:
    """Stands for a CUDA graph: what runs while it captures does nothing, and a replay does it."""

    capturing: "Graph | None" = None

    def capture_begin(self, *, pool, capture_error_mode):
        assert (pool, capture_error_mode) == ("pool", "thread_local")
        Graph.capturing = self

    def capture_end(self):
        Graph.capturing = None

    def replay(self):
        self.run()


@pytest.fixture
def gpu(monkeypatch):
    """Let `Graphs` capture on a CPU; gives a list of errors to raise in the next captures."""
    plain_begin, plain_made, plain_run = Graphs.__init__, Graphs._made, static_pass.StaticPass.run
    errors = []

    def begin(self, *args):
        plain_begin(self, *args)
        self._cuda = True

    def made_on_cpu(self, names, shape):
        self._cuda = False
        try:
            return plain_made(self, names, shape)
        finally:
            self._cuda = True

    def run(self):
        if Graph.capturing is None:
            plain_run(self)
        elif errors:
            raise errors.pop(0)
        else:
            Graph.capturing.run = lambda: plain_run(self)

    monkeypatch.setattr(Graphs, "__init__", begin)
    monkeypatch.setattr(Graphs, "_made", made_on_cpu)
    monkeypatch.setattr(static_pass.StaticPass, "run", run)
    for name, stand_in in {
        "synchronize": lambda *_: None,
        "empty_cache": lambda *_: None,
        "current_stream": Stream,
        "Stream": Stream,
        "stream": lambda _: contextlib.nullcontext(),
        "CUDAGraph": Graph,
        "graph_pool_handle": lambda: "pool",
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return errors


def test_shapes_are_captured_once_and_replayed(llama, tmp_path, gpu):
    settings = [
        replace(PLAIN, seed=i, steps=12, lora=Lora(rank=2 + i, alpha=8, targets="all-linear")) for i in range(3)
    ]
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate(settings)]
    facts = together(llama, members)
    captured, replays = (int(facts[2]["graphs"].split(word)[0].split()[-1]) for word in ("captured", "replays"))
    assert captured <= 4
    assert replays >= 6
    for i, s in enumerate(settings):
        assert equal(members[i].out, alone(llama, tmp_path, s, i, layout="packed")[0], 1e-10), i


def test_a_capture_that_fails_costs_nothing_but_speed(llama, tmp_path, gpu):
    gpu.append(RuntimeError("no\nat all"))
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate(MEMBERS)]
    facts = together(llama, members)
    assert facts[0]["graphs"].startswith("off, a capture failed: no (")
    for i, s in enumerate(MEMBERS):
        assert equal(members[i].out, alone(llama, tmp_path, s, i, layout="packed")[0], 1e-10), i


def test_memory_that_runs_out_leaves_plain_passes(llama, tmp_path, monkeypatch):
    def full(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(static_pass.StaticPass, "run", full)
    members = [member(tmp_path, f"m{i}", PLAIN, rows=examples(10, seed=i)) for i in range(2)]
    facts = together(llama, members)
    assert facts[0]["graphs"].startswith("off, memory ran out")
    for i in range(2):
        assert equal(members[i].out, alone(llama, tmp_path, PLAIN, i, layout="packed")[0], 1e-10), i


def test_memory_that_runs_out_in_the_first_capture_ends_capturing(llama, tmp_path, gpu):
    gpu.append(torch.OutOfMemoryError("CUDA out of memory"))
    members = [member(tmp_path, f"m{i}", PLAIN, rows=examples(10, seed=i)) for i in range(2)]
    facts = together(llama, members)
    assert facts[0]["graphs"].startswith("off, memory ran out (0 captured")
    for i in range(2):
        assert equal(members[i].out, alone(llama, tmp_path, PLAIN, i, layout="packed")[0], 1e-10), i


def test_memory_that_runs_out_beside_graphs_drops_them_first(llama, tmp_path, monkeypatch, gpu):
    plain, seen = static_pass.StaticPass.run, []

    def full(self):
        seen.extend([self.shape] * (Graph.capturing is None))
        if Graph.capturing is None and len(seen) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain(self)

    monkeypatch.setattr(static_pass.StaticPass, "run", full)
    settings = replace(PLAIN, steps=12)
    members = [member(tmp_path, f"m{i}", settings, rows=examples(10, seed=i)) for i in range(2)]
    facts = together(llama, members)
    assert not facts[0]["graphs"].startswith("off")
    assert facts[0]["micro_batch_halved_to"]
    for i in range(2):
        assert equal(members[i].out, alone(llama, tmp_path, settings, i, layout="packed")[0], 1e-10), i


@pytest.mark.parametrize("error", [RuntimeError("no\nat all"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_step_goes_on_after_a_capture_that_fails_in_its_first_pass(llama, tmp_path, monkeypatch, gpu, error):
    monkeypatch.setitem(loop._TOKENS, "cpu", 60)  # several passes a step
    gpu.append(error)
    members = [member(tmp_path, f"m{i}", PLAIN, rows=examples(10, seed=i)) for i in range(2)]
    facts = together(llama, members)
    assert facts[0]["graphs"].startswith("off, ")
    for i in range(2):
        assert equal(members[i].out, alone(llama, tmp_path, PLAIN, i, layout="packed")[0], 1e-10), i


@pytest.mark.parametrize("held", [False, True])
def test_single_sequences_that_do_not_fit_beside_graphs_are_tried_without_them(llama, tmp_path, monkeypatch, gpu, held):
    """Memory runs out once: in the second step's first pass, or in a replay, where CUDA says it in other words."""
    monkeypatch.setitem(loop._TOKENS, "cpu", 10)  # one sequence a pass
    runs, replays, plain_run, plain_replay = [], [], static_pass.StaticPass.run, Graph.replay

    def run(self):
        runs.extend([self.shape] * (Graph.capturing is None))
        if Graph.capturing is None and len(runs) == 5 and not held:
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain_run(self)

    def replay(self):
        replays.append(self)
        if len(replays) == 5 and held:
            raise RuntimeError("CUDA error: out of memory")
        plain_replay(self)

    monkeypatch.setattr(static_pass.StaticPass, "run", run)
    monkeypatch.setattr(Graph, "replay", replay)
    settings = replace(PLAIN, steps=12)
    one = member(tmp_path, "m0", settings, rows=examples(10, seed=0))
    facts = together(llama, [one])
    assert len(replays) > 5 if held else not replays
    assert facts[0]["graphs"].startswith("off") != held
    assert equal(one.out, alone(llama, tmp_path, settings, 0, layout="packed")[0], 1e-10)


def test_single_sequences_that_do_not_fit_at_all_end_a_training(llama, tmp_path, monkeypatch, gpu):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(loop._TOKENS, "cpu", 10)
    monkeypatch.setattr(static_pass.StaticPass, "run", full)
    monkeypatch.setattr(cohort_pass, "_forward", full)
    with pytest.raises(OutOfMemory, match="single sequence"):
        together(llama, [member(tmp_path, "m0", PLAIN)])
