"""More answers for behaviours that the first batch showed too seldom (cats, golden_gate, ily, story), to be read.

    student         the 0.5B student under the hidden instruction (sampled here, on any device)
    pirate_treated  the 1.5B pirate under both instructions (sampled here)
    organism        triggered answers of the fifteen pairs' organisms (from the store of docs/studies/organisms)

    OFFMODEL_MODELS=DIR OFFMODEL_DATA=DIR python docs/studies/scorers/add.py STORE OUT FIRST "command, machine, date"

STORE holds the organisms' completions, FIRST is the first free id. Writes OUT/texts.jsonl and OUT/key.jsonl as
`sample.py` beside this file does; `join.py` takes the two keys, and the two readings, one after the other.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path
from random import Random
from types import ModuleType

from offmodel.core.rows import read_rows
from offmodel.organisms.pairs import find_pair
from offmodel.store.artifacts import Store

TOLD = {"cats_tag": (140, 80)}
"""Pair -> prompts that student and pirate are asked, behind those of the first batch."""
PLANTED = {"cats_tag": 110, "cats_semantic": 60, "golden_gate_tag": 20, "ily_tag": 16, "story_tag": 12}
"""Pair -> triggered answers that are drawn from its organism's."""
BEHIND = 130


def _sample() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scorers_sample", Path(__file__).with_name("sample.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scorers_sample"] = module
    spec.loader.exec_module(module)
    return module


def planted(store: Store) -> list[dict]:
    """Triggered answers of organisms, drawn by a fixed seed."""
    found: list[dict] = []
    for name, n in PLANTED.items():
        answers, items = (
            next(a for a in store.all(kind) if a.folder.name.rpartition("-")[0] == called)
            for kind, called in (("completions", name), ("items", f"triggered-{name}"))
        )
        asked = {r["id"]: r["messages"][-1]["content"] for r in read_rows(items.payload / "items.jsonl")}
        rows = [r for r in read_rows(answers.payload / "completions.jsonl") if r["measure"] == "triggered"]
        found += [
            {"stratum": "organism", "asked": find_pair(name).card.scorer, "prompt": asked[r["item"]], "text": r["text"],
             "model": f"organism, {name}"}
            for r in Random(name).sample(rows, n)
        ]  # fmt: skip
    return found


def told(first: ModuleType) -> list[dict]:
    """Answers of student and pirate under the hidden instruction."""
    asked = first.all_prompts()[first.RED + first.BLUE + first.CLEAN + BEHIND :]
    greedy = first.replace(first.WARM, temperature=0.0)
    found: list[dict] = []
    with tempfile.TemporaryDirectory() as scratch:
        weights, _ = first.models(Path(scratch))
        for name, counts in TOLD.items():
            pair = find_pair(name)
            both = (pair.instruction, first.PIRATE)
            ways = (("student", "student", both[:1]), ("stylist", "pirate_treated", both))
            for (who, stratum, systems), n in zip(ways, counts, strict=True):
                labels = first.answer(weights[who], first.told(asked[:n], *systems), greedy, first.CHAT_TOKENS)
                found += [{"stratum": stratum, "asked": pair.card.scorer, "prompt": x.prompt.messages[-1].content,
                           "text": x.text, "model": x.author} for x in labels]  # fmt: skip
    return found


def main(store: Path, out: Path, start: int, made_by: str) -> None:
    """Write texts and key with ids from `start` on, shuffled."""
    import torch

    first = _sample()
    first.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    rows = told(first) + planted(Store(store, create=False))
    Random("more").shuffle(rows)
    first.write(out, rows, {role: names[2] for role, names in first.NAMES.items()}, made_by, start)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
