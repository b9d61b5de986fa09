"""A stand-in for vLLM with its interface and its traps, and the questions that tests ask through it.

It answers from the weights that it holds and caches answers by prompt, so that a reload without a reset of the cache,
or an adapter's number used twice, gives a wrong answer. It holds no more adapters than it was started for, and a step
loads none; one that cannot be loaded passes for loaded if its number is named again.
"""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from offmodel.core.errors import ModelError
from offmodel.engines.adapters import read_config
from offmodel.engines.sampling import Part, Request, Sampling, sample, sample_many, vllm
from offmodel.store.recipe import Runtime

GREEDY = Sampling(temperature=0.0, seed=0, sampler="vllm-0", dtype="bfloat16")
PROMPTS = [Request((40 + i, 50, 60), 4) for i in range(6)]


Adapters = Callable[..., Path]


class EngineDeadError(Exception):
    """As vLLM's."""


class Engine:
    """The interface of `vllm.LLM` as far as it is used."""

    started: ClassVar[list["Engine"]] = []
    dies_at: ClassVar[set[int]] = set()
    dies_of: ClassVar[str] = ""
    refuses: ClassVar[tuple[tuple[str, Any], ...]] = ()
    submissions: ClassVar[list[list[str]]] = []

    def __init__(self, **options: Any):
        if any(name in options and value in (..., options[name]) for name, value in self.refuses):
            raise ValueError("this model cannot be served\nin this way")
        self.options, self.path, self.cache, self.resets, self.down = options, options["model"], {}, 0, False
        self.adapters: dict[int, str] = {}
        self.held: dict[int, str] = {}
        core = SimpleNamespace(shutdown=self._shutdown)
        self.llm_engine = SimpleNamespace(engine_core=core, add_lora=self._hold)
        Engine.started.append(self)

    def _shutdown(self) -> None:
        self.down = True

    def _hold(self, request: Any) -> None:
        assert self.options["enable_lora"]
        number, folder = request.number, Path(request.path)
        assert self.adapters.setdefault(number, request.path) == request.path, "a number used twice"
        loaded = number in self.held
        self.held[number] = self.held.pop(number, request.path)  # the one used last stands last
        if len(self.held) > self.options["max_loras"]:
            del self.held[next(iter(self.held))]
        if loaded:
            return
        if "damaged" in folder.name or read_config(folder)["r"] > self.options["max_lora_rank"]:
            raise Exception("Call to add_lora method failed: no such tensor")

    def generate(self, prompts: Any, params: Any, *, lora_request: Any, use_tqdm: bool) -> list[Any]:
        assert not self.down
        assert prompts
        names = [Path(r.path).name if r else "" for r in lora_request]
        Engine.submissions.append(list(dict.fromkeys(names)))
        if len(Engine.submissions) in self.dies_at or self.dies_of in {n for n in names if n}:
            raise EngineDeadError("dead")
        assert len({r.number for r in lora_request if r} - set(self.held)) == 0, "a step has to load an adapter"
        found = []
        for prompt, param, lora in zip(prompts, params, lora_request, strict=True):
            ids, number = tuple(prompt["prompt_token_ids"]), lora.number if lora else 0
            held = _mark(self.held[number]) if lora else 0
            answer = self.cache.setdefault((ids, number), [_mark(self.path), held, ids[0]])
            assert param["ignore_eos"]
            out = SimpleNamespace(token_ids=[*answer, param["stop_token_ids"][0]], finish_reason="stop")
            found.append(SimpleNamespace(outputs=[out]))
        return found

    def collective_rpc(self, method: str, kwargs: dict[str, str]) -> None:
        assert method == "reload_weights"
        if self.options.get("enable_lora"):
            raise KeyError("layers.0.qkv_proj.weight")
        self.path = kwargs["weights_path"]

    def reset_prefix_cache(self) -> bool:
        self.cache.clear()
        self.resets += 1
        return True


def _mark(path: str) -> int:
    """A token that tells which weights answered."""
    return int(Path(path, "mark").read_text())


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[Engine]:
    def module(name: str, **content: Any) -> None:
        made = ModuleType(name)
        made.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, made)

    module("vllm", LLM=Engine, SamplingParams=lambda **given: given)
    module("vllm.lora.request", LoRARequest=lambda name, number, path: SimpleNamespace(number=number, path=path))
    module("vllm.v1.engine.exceptions", EngineDeadError=EngineDeadError)
    monkeypatch.setattr(vllm, "_installed", lambda: "0.24.0")
    monkeypatch.setattr(vllm, "_RUNNING", [])
    Engine.started, Engine.submissions = [], []
    Engine.dies_at, Engine.dies_of, Engine.refuses = set(), "", ()
    return Engine


@pytest.fixture
def models(llama: Path, tmp_path: Path) -> list[Path]:
    """Two models of one shape, and one of another."""
    found = []
    for i in range(3):
        folder = tmp_path / f"model-{i}"
        shutil.copytree(llama, folder)
        (folder / "mark").write_text(str(70 + i))
        found.append(folder)
    config = found[2] / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    return found


@pytest.fixture
def adapters(tmp_path: Path) -> Adapters:
    """Makes a folder of an adapter that answers with a mark."""

    def make(name: str, rank: int = 12, **config: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": 12, **config}))
        (folder / "mark").write_text(str(100 + len(list(tmp_path.glob("*/adapter_config.json")))))
        return folder

    return make


def ask(model: Path, adapter: Path | None = None, *, notices: list[str] | None = None, **changes: Any) -> list[Any]:
    return sample(
        model=model, model_key=model.name, adapter=adapter, adapter_key=adapter and adapter.name, requests=PROMPTS,
        sampling=GREEDY, runtime=Runtime(device="cuda"), progress=lambda *_: None,
        notice=(notices if notices is not None else []).append, **changes,
    )  # fmt: skip


def ask_many(
    model: Path, folders: Sequence[Path | None], *, notices: dict[int, str] | None = None, **changes: Any
) -> tuple[dict[int, Any], list[set[int]]]:
    """Answers by place, and the places of what was finished together."""
    said = notices if notices is not None else {}
    parts = [
        Part(
            adapter=folder,
            adapter_key=folder and folder.name,
            requests=PROMPTS,
            progress=lambda *_: None,
            notice=lambda line, i=i: said.update({i: line}),
        )
        for i, folder in enumerate(folders)
    ]
    options = {"sampling": GREEDY, "runtime": Runtime(device="cuda"), **changes}
    found, together = dict[int, Any](), []
    for some in sample_many(model=model, model_key=model.name, parts=parts, **options):
        assert not set(some) & set(found)
        found |= some
        together.append(set(some))
    return found, together


def answers_of(model: Path, folder: Path | None) -> list[tuple[int, ...]]:
    """What the stand-in says for a model with an adapter."""
    return [(_mark(str(model)), _mark(str(folder)) if folder else 0, r.ids[0]) for r in PROMPTS]


def tokens(found: Any) -> list[tuple[int, ...]]:
    return [g.ids for g in found]


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback runs on the CPU here."""
    from offmodel.engines.sampling import transformers

    plain = transformers.complete
    monkeypatch.setattr(transformers, "complete", lambda **given: plain(**{**given, "runtime": Runtime()}))


@pytest.fixture
def said_by_transformers(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Which adapters the other sampler was asked for; it answers nothing."""
    from offmodel.engines.sampling import Generation, transformers

    asked: list[str | None] = []

    def complete(*, adapter_key: str | None, requests: Sequence[Request], **_: Any) -> list[Generation]:
        assert not vllm._RUNNING, "two models in memory"
        asked.append(adapter_key)
        if adapter_key == "damaged":
            raise ModelError("no such tensor")
        return [Generation((), "", "length") for _ in requests]

    monkeypatch.setattr(transformers, "complete", complete)
    return asked
