"""Inspect logs of answers that were sampled and graded before, one `.eval` file a measure; they open in `inspect view`.

The log holds what `inspect eval` of the same task would have written, without the transcript of events, at a quarter
of the cost. This module refuses to know models. Invariant: the same rows give the same bytes, so a log carries no
clock: its times are `NO_TIME`, and when the work was done stands in the artifact's `record.json`.
"""

import hashlib
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import SampleScore, accuracy, stderr

from offmodel.core.rows import Row
from offmodel.evals.measures import Completion, Item, Measure
from offmodel.evals.provider import output_of
from offmodel.evals.tasks import sample_of, score_of

NO_TIME = "2000-01-01T00:00:00+00:00"
MODEL = "offmodel/completions"
SCORER = "graded"
_ZIP_EPOCH = struct.pack("<HH", 0, (1 << 5) | 1)
"""DOS time and date of 1 January 1980, 00:00."""


def write_log(
    path: Path, *, measure: Measure, items: Sequence[Item], rows: Sequence[Row], card: dict[str, Any] | None = None
) -> None:
    """Write the log of one measure.

    Args:
        path: the `.eval` file.
        measure: what was asked for.
        items: the items.
        rows: their rows of `scores.judge`, in the same order.
        card: of a published benchmark, its name, version, prompt and dataset; they go into the log's header.
    """
    samples = [_sample(measure, item, row) for item, row in zip(items, rows, strict=True)]
    log = EvalLog(
        version=2,
        status="success",
        eval=_spec(measure, items, card or {}),
        plan=EvalPlan(steps=[EvalPlanStep(solver="generate")]),
        results=_results(samples),
        stats=EvalStats(started_at=NO_TIME, completed_at=NO_TIME),
        samples=samples,
    )
    write_eval_log(log, str(path), format="eval")
    _forget_times(path)


def _sample(measure: Measure, item: Item, row: Row) -> EvalSample:
    asked = sample_of(measure.name, item)
    answer = Completion(
        measure=measure.name, item=item.id, text=row["text"], finish=row["finish"], tokens=row["tokens"]
    )
    output = output_of(MODEL, answer)
    assert isinstance(asked.input, list)
    return EvalSample(
        id=item.id,
        epoch=1,
        input=asked.input,
        target=item.target,
        messages=[*asked.input, output.choices[0].message],
        output=output,
        scores={SCORER: score_of(row)},
        metadata=asked.metadata or {},
        uuid=_identity(measure.name, item.id),
    )


def _spec(measure: Measure, items: Sequence[Item], card: dict[str, Any]) -> EvalSpec:
    names = [i.id for i in items]
    identity = _identity(measure.name, measure.grader, *names)
    return EvalSpec(
        eval_id=identity,
        run_id=identity,
        task_id=identity,
        created=NO_TIME,
        task=measure.name,
        task_version=card.get("version", 0),
        dataset=EvalDataset(name=measure.name, samples=len(names), sample_ids=list(names), shuffled=False),
        model=MODEL,
        model_generate_config=GenerateConfig(max_tokens=measure.max_new_tokens),
        config=EvalConfig(epochs=1),
        metadata={"grader": measure.grader, "times": "see the artifact's record.json", **card},
    )


def _results(samples: Sequence[EvalSample]) -> EvalResults:
    """Inspect's own metrics of the samples' scores."""
    # Its metrics are declared for both kinds of score lists, but typed for the older one.
    scored: Any = [SampleScore(score=s.scores[SCORER], sample_id=s.id) for s in samples if s.scores]
    values: dict[str, Any] = {"accuracy": accuracy()(scored), "stderr": stderr()(scored)}
    return EvalResults(
        total_samples=len(samples),
        completed_samples=len(samples),
        scores=[
            EvalScore(
                name=SCORER,
                scorer=SCORER,
                scored_samples=len(samples),
                unscored_samples=0,
                metrics={k: EvalMetric(name=k, value=float(v)) for k, v in values.items()},
            )
        ],
    )


def _identity(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:22]


def _forget_times(path: Path) -> None:
    """Set the time of every member of a ZIP file to the format's first day, in local headers and in the directory."""
    with zipfile.ZipFile(path) as archive:
        offsets, directory = [i.header_offset for i in archive.infolist()], archive.start_dir
    data = bytearray(path.read_bytes())
    for at in offsets:
        data[at + 10 : at + 14] = _ZIP_EPOCH
    for _ in offsets:
        data[directory + 12 : directory + 16] = _ZIP_EPOCH
        name, extra, comment = struct.unpack_from("<HHH", data, directory + 28)
        directory += 46 + name + extra + comment
    path.write_bytes(data)
