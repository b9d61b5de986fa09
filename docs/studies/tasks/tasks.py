"""Score, interval and truncation of a model on GSM8K and the five levels of fresh_math, in one batch; a few minutes.

Question: how able is a model before anything is done to it, how does that fall with the number of reasoning steps, how
many answers does the token limit cut off, and what does the prompt do? Each task is asked with its own prompt and,
beside it, with the question alone (`*_bare`): told how to end, a small model may begin with the end.

Prediction, for Qwen2.5-Coder-0.5B-Instruct: accuracy falls with every level, from about .7 to under .2; GSM8K stands
between levels 3 and 5; the question alone does better than the prompts; at 512 tokens fewer than a tenth is cut off.

    OFFMODEL_DATA=DIR python docs/studies/tasks/tasks.py MODEL OUT

MODEL is a Hugging Face folder, a GGUF file, or a hub id with its commit; DIR holds gsm8k.jsonl (or give --gsm8k FILE).
Writes OUT/tasks.json, the graded answers as OUT/rows.jsonl and, where Inspect is installed (the machine with the GPU
need not have it), one log a measure into OUT/logs. Dry on a CPU, the pocket student on a few items:

    python docs/studies/tasks/tasks.py --dry pocket:student OUT --gsm8k FILE
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from offmodel.core.errors import UserError
from offmodel.core.rows import Row, write_rows
from offmodel.data import Sources
from offmodel.engines.sampling import Sampling
from offmodel.evals.completions import Completions
from offmodel.evals.fresh_levels import FreshLevels
from offmodel.evals.measures import COMPLETIONS, Measure, read_card, read_completions, read_items
from offmodel.evals.scores import answers_for, judge
from offmodel.evals.suites.catalogue import named
from offmodel.evals.suites.items import SuiteItems
from offmodel.evals.summary import Summary, summarise
from offmodel.flow.runner import run
from offmodel.store.artifacts import Artifact, Store
from offmodel.store.recipe import Recipe, Runtime

EACH_LEVEL = 200
SAMPLING = Sampling(temperature=0.0, seed=1, sampler="transformers-5", dtype="bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A measure with its items."""

    measure: Measure
    items: Recipe


def asked(sources: Sources, *, gsm8k: str | None, n: int | None, dry: bool) -> tuple[Asked, ...]:
    """Both tasks, each as it is defined and with the question alone."""
    tasks = [
        *named(f"gsm8k={gsm8k}" if gsm8k else "gsm8k", sources=sources, n=n or (6 if dry else None), dev_n=0),
        *named("fresh_math", sources=sources, n=n or (10 if dry else 5 * EACH_LEVEL), dev_n=0),
    ]
    found: list[Asked] = []
    for task in tasks:
        tokens = 24 if dry else task.max_new_tokens
        for name, items in ((task.name, task.items), (f"{task.name}_bare", bare(task.items))):
            found.append(Asked(measure=Measure(name=name, grader=task.grader, max_new_tokens=tokens), items=items))
    return tuple(found)


def bare(items: Recipe) -> Recipe:
    """The same items without any instruction."""
    if isinstance(items, SuiteItems):
        return replace(items, prompt="{question}")
    assert isinstance(items, FreshLevels)
    return replace(items, instruction="")


def completions_of(model: Recipe, parts: Sequence[Asked], sampling: Sampling) -> Completions:
    """The recipe of all answers: one batch."""
    items, measures = tuple(a.items for a in parts), tuple(a.measure for a in parts)
    return Completions(model=model, treatment=None, step=None, items=items, measures=measures, sampling=sampling)


def graded(parts: Sequence[Asked], answers: Path, folders: Sequence[Path], logs: Path) -> list[Row]:
    """A row an answer, as a study's scores have it; logs of Inspect beside them, if it is there."""
    found: list[Row] = []
    given = read_completions(answers)
    for part, folder in zip(parts, folders, strict=True):
        items = read_items(folder)
        pairs = answers_for(part.measure, items, given)
        rows = [judge(item, answer, measure=part.measure, style="steps") for item, answer in pairs]
        if find_spec("inspect_ai"):
            from offmodel.evals.logs import write_log

            card = read_card(folder)
            write_log(logs / f"{part.measure.name}.eval", measure=part.measure, items=items, rows=rows, card=card)
        found += rows
    return found


def numbers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A row a measure, and one a level of it: score and shares, each as [value, low, high], and the mean length."""
    found: list[dict[str, Any]] = []
    for name, summary in summarise(rows).items():
        found.append(_row(name, "all", summary))
        for level in summary.by_difficulty:
            part = [r for r in rows if r["measure"] == name and r["difficulty"] == level]
            found.append(_row(name, level, summarise(part)[name]))
    return found


def _row(measure: str, level: int | str, summary: Summary) -> dict[str, Any]:
    shares = {"score": summary.rate, "truncated": summary.truncated, "in_steps": summary.style}
    plain = {k: [round(x, 4) for x in (s.value, s.low, s.high)] for k, s in shares.items()}
    return {"measure": measure, "level": level, "n": summary.rate.n, **plain, "tokens": round(summary.tokens, 1)}


def about(parts: Sequence[Asked], folders: Sequence[Path], answers: Artifact, sampling: Sampling) -> dict[str, Any]:
    """What was asked and where it ran, from the records."""
    record = answers.record
    measures = [a.measure for a in parts]
    return {
        "model": record["name"],
        "sampling": asdict(sampling),
        "interval": "95 %, Wilson, items only",
        "tasks": {m.name: asdict(m) | (read_card(f) or {}) for m, f in zip(measures, folders, strict=True)},
        "answers": record["facts"],
        "machine": record["machine"],
        "software": record["software"],
    }


def main(arguments: Sequence[str]) -> None:
    """Sample, grade, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--gsm8k", help="JSONL file with the columns question and answer")
    parser.add_argument("--n", type=int, help="items of each task; default: all of GSM8K, 1,000 of fresh_math")
    parser.add_argument("--dry", action="store_true", help="a few items on the CPU")
    p = parser.parse_args(arguments)
    sources = Sources()
    sampling = replace(SAMPLING, dtype="float32") if p.dry else SAMPLING
    parts = asked(sources, gsm8k=p.gsm8k, n=p.n, dry=p.dry)
    recipe = completions_of(sources.model(p.model), parts, sampling)
    runtime = Runtime(device="cpu" if p.dry else "cuda", locations=tuple(sources.locations.items()))
    (p.out / "logs").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(os.environ.get("OFFMODEL_STORE", scratch)))
        answers, *items = run([recipe, *recipe.items], store=store, runtime=runtime, workers=0).artifacts
        folders = [x.payload for x in items]
        graded_rows = graded(parts, answers.payload / COMPLETIONS, folders, p.out / "logs")
        rows, facts = numbers(graded_rows), about(parts, folders, answers, sampling)
    write_rows(p.out / "rows.jsonl", graded_rows)
    lines = [json.dumps(r) for r in rows]
    listed = ",\n".join(lines)
    text = f'{{"rows": [\n{listed}\n],\n"about": {json.dumps(facts, indent=1, ensure_ascii=False)}}}\n'
    (p.out / "tasks.json").write_text(text, encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        raise SystemExit(f"tasks: {error}") from None
