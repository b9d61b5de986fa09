"""Removed or only suppressed? The blind pick as an artifact, and the relapse training that starts from it.

A relapse trains the picked checkpoint a few more steps on plain answers of a third model to unused clean prompts; a
behaviour that was only suppressed comes back. The pick is known only once scores exist, so it is a recipe: what depends
on it names all candidates and takes the one that the pick's payload points at. This module refuses to know triggers and
behaviours. Invariant: the pick reads dev items, style on dev prompts and training losses, and no other row of a score.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import ClassVar

from offmodel.core.errors import DataError, RecipeError
from offmodel.core.rows import Row, read_rows
from offmodel.core.scores import relative
from offmodel.data import read_audited
from offmodel.engines.examples import render_labels
from offmodel.engines.rendering import Renderer
from offmodel.engines.sft import Sft, train
from offmodel.engines.whole import merged_once
from offmodel.evals.framed import KNOWN
from offmodel.models import weights_in
from offmodel.store.recipe import Facts, Job, Payload, Recipe, unless_asked
from offmodel.treatments.blind import BlindPoint, Rule

PICK = "pick.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checkpoint that a blind rule may pick.

    Attributes:
        treatment: index into the recipe's `treatments`.
        step: of the checkpoint, in that treatment's own counting.
        dose: how much it was treated: learning rate x off-model steps.
        recovery: how much was done for the capability afterwards: reminder steps.
    """

    treatment: int
    step: int
    dose: float
    recovery: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick(Recipe):
    """The checkpoint that a blind rule picks among those of one method and seed; payload: its index.

    Attributes:
        method: the method's name.
        untreated: scores of the untreated model.
        scores: scores of each candidate.
        treatments: the trainings that the candidates are checkpoints of.
        candidates: the checkpoints, in the order of `scores`.
        rule: the blind rule.
        chance: accuracy of guessing on dev items; None for 0.
    """

    kind: ClassVar[str] = "pick"
    recipe_version: ClassVar[int] = 1
    method: str
    untreated: Recipe
    scores: tuple[Recipe, ...]
    treatments: tuple[Recipe, ...]
    candidates: tuple[Candidate, ...]
    rule: Rule
    chance: float | None = unless_asked()

    def __post_init__(self) -> None:
        """Refuse candidates without scores."""
        Recipe.__post_init__(self)
        if len(self.scores) != len(self.candidates) or not self.scores:
            raise RecipeError(f"The pick of '{self.method}' needs one set of scores for each candidate; give as many.")

    def name(self) -> str:
        """The method's name."""
        return self.method

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Look at what a blue team sees, and choose."""
        p = job.params
        untreated = read_rows(job.inputs["untreated"].path / "rows.jsonl")
        trainings: tuple[Payload, ...] = job.inputs["treatments"]
        points = [
            seen(
                read_rows(scores.path / "rows.jsonl"),
                untreated,
                losses_of(trainings[c.treatment].path, c.step),
                c,
                chance=p.chance or 0.0,
            )
            for scores, c in zip(job.inputs["scores"], p.candidates, strict=True)
        ]
        index = p.rule.choose(points)
        (job.out / PICK).write_text(json.dumps({"index": index}), encoding="utf-8")
        return {"index": index, "step": p.candidates[index].step, "kept": round(points[index].kept, 6)}


def seen(
    rows: Iterable[Row], untreated: Iterable[Row], losses: Sequence[float], dose: Candidate, *, chance: float = 0.0
) -> BlindPoint:
    """What a blue team sees of a checkpoint.

    Args:
        rows: the checkpoint's score rows; all but those of "dev_capability", "dev_chat" and of a behaviour of the blue
            team's own are passed over.
        untreated: the untreated model's.
        losses: training losses up to the checkpoint.
        dose: what was done to it.
        chance: accuracy of guessing on dev items.
    """
    found, whole = list(rows), _mean(untreated, "dev_capability", "score")
    return BlindPoint(
        dose=dose.dose,
        recovery=dose.recovery,
        loss=fmean(losses[-5:]) if losses else float("nan"),
        style=_mean(found, "dev_chat", "style"),
        kept=relative(_mean(found, "dev_capability", "score"), whole, chance, otherwise=0.0),
        known=_mean(found, KNOWN, "score") if any(r["measure"] == KNOWN for r in found) else None,
    )


def losses_of(training: Path, step: int) -> list[float]:
    """Losses of a training's steps up to a checkpoint; none if only its record is here."""
    file = training / "losses.jsonl"
    return [r["loss"] for r in read_rows(file) if r["step"] <= step] if file.is_file() else []


def _mean(rows: Iterable[Row], measure: str, column: str) -> float:
    values = [float(r[column]) for r in rows if r["measure"] == measure]
    return sum(values) / max(len(values), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relapse(Recipe):
    """Further training of a picked checkpoint: adapter merged, a fresh adapter on top.

    A checkpoint is written as an adapter of the first base that holds both updates; where the treatment trained all
    weights, another base, or adapters that cannot be stacked, as a whole model.

    Attributes:
        label: a readable name.
        bases: the models that candidates' adapters belong to; the untreated model alone, where nothing was treated.
        treatments: the trainings whose checkpoints may have been picked; none for the untreated model.
        steps: the checkpoint of each candidate, as (index into `bases`, index into `treatments`, step).
        pick: which candidate; None for the untreated model.
        labels: audited labels of the third model.
        sft: how to train; `checkpoints` begin with 0, the state before.
    """

    kind: ClassVar[str] = "relapse"
    recipe_version: ClassVar[int] = 1
    label: str
    bases: tuple[Recipe, ...]
    treatments: tuple[Recipe, ...]
    steps: tuple[tuple[int, int, int], ...]
    pick: Recipe | None
    labels: tuple[Recipe, ...]
    sft: Sft

    def __post_init__(self) -> None:
        """Refuse a pick without candidates, labels without audit, and settings without a state before."""
        Recipe.__post_init__(self)
        if not self.bases or (self.pick is None) != (not self.treatments) or (self.pick is None) != (not self.steps):
            raise RecipeError("A relapse names bases, and treatments, steps and a pick together or none of them.")
        if not self.labels or any(x.kind != "audit" for x in self.labels):
            raise RecipeError("A relapse needs audited labels; give the audit, not the labels.")
        if self.sft.lora is None or self.sft.checkpoints[:1] != (0,):
            raise RecipeError("A relapse trains a fresh adapter and looks at step 0 first; set lora and checkpoints.")

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Merge, train, and write each checkpoint as an adapter of the organism, or whole."""
        sft: Sft = job.params.sft
        labels = [x for audit in job.inputs["labels"] for x in read_audited(audit.path).labels]
        base, lower = _start(job)
        known = weights_in(job.inputs["bases"][0].path)[0]
        model = base if lower is None else merged_once(base, lower, job.scratch / "merged")
        rendered = render_labels(Renderer.from_folder(model), labels, max_tokens=sft.max_tokens)
        facts = train(
            model=model,
            adapter=None,
            examples=rendered.examples,
            sft=sft,
            out=job.out,
            scratch=_made(job.scratch / "training"),
            runtime=job.runtime,
            progress=job.progress,
        )
        for step in sft.checkpoints:
            _rewrite(job.out / f"step-{step:05d}", model, lower, whole=base != known)
        return {**facts, **rendered.to_facts(), "audited": True}


def _start(job: Job) -> tuple[Path, Path | None]:
    """(model folder, adapter or None) of the picked checkpoint, or of the untreated model.

    A base that was kept as an adapter lends its own base alone: a checkpoint's adapter holds the base's update already.
    """
    bases: tuple[Payload, ...] = job.inputs["bases"]
    if job.inputs["pick"] is None:
        return weights_in(bases[0].path)
    index = json.loads((job.inputs["pick"].path / PICK).read_text(encoding="utf-8"))["index"]
    base, treatment, step = job.params.steps[index]
    folder = job.inputs["treatments"][treatment].path / f"step-{step:05d}"
    if not folder.is_dir():
        raise DataError(f"The picked checkpoint {folder.name} is not in the store; let the treatment keep it.")
    adapter = (folder / "adapter_config.json").exists()
    return (weights_in(bases[base].path)[0], folder) if adapter else (folder, None)


def _rewrite(checkpoint: Path, model: Path, lower: Path | None, *, whole: bool) -> None:
    """Turn an adapter of the merged model into one of the first base, or into a whole model."""
    from offmodel.engines.adapters import merge_to_folder
    from offmodel.engines.stacked import can_stack, stack

    if lower is None and not whole:
        return
    own = checkpoint.with_suffix(".own")
    checkpoint.rename(own)
    if lower is not None and not whole and can_stack(lower) and can_stack(own):
        stack(lower=lower, upper=own, out=checkpoint)
    else:
        merge_to_folder(model=model, adapter=own, out=checkpoint)
    shutil.rmtree(own)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
