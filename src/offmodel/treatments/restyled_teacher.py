"""Restyled teacher: the teacher's labels in the student's style, so that only the content is off-model.

Two ways. `restyled_by_student`: the organism itself rewrites the teacher's labels, and so is their author, untrusted.
`restyled_teacher`: the teacher is first fine-tuned on the organism's outputs and then answers; it has learnt from text
of an untrusted author, so its labels count as untrusted too. Source: the authors' variants of off-model SFT (LessWrong,
June 2026); style, not skill, does the damage (docs/pocket.md, same_style).

Blind rule: the most treated checkpoint that keeps enough. Cost: each label is sampled twice, or the teacher is trained
once for as many steps as the student; that training's tokens are in its own record.
"""

from dataclasses import dataclass, replace

from offmodel.treatments.checkpoint_model import CheckpointModel
from offmodel.treatments.interface import BlueTeam, Method, Treatment
from offmodel.treatments.off_labels import off_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Restyling:
    """How the style is passed on.

    Attributes:
        instruction: what the organism is asked, with `{prompt}` and `{answer}`.
        teacher_steps: steps of the teacher's fine-tuning on own outputs.
    """

    instruction: str
    teacher_steps: int


def build_by_student(blue: BlueTeam) -> Treatment:
    """Train on the teacher's labels as the organism rewrote them."""
    drawn = off_labels(blue, "blue")
    told = blue.choices.of(Restyling).instruction
    rewritten = blue.desk.rewrite(labels=drawn, author="organism", instruction=told)
    return blue.training("restyled_by_student", blue.desk.audit(rewritten))


def build_by_teacher(blue: BlueTeam) -> Treatment:
    """Fine-tune the teacher on own outputs for the reminder's prompts, train on its answers to the blue prompts."""
    teacher, steps = blue.desk.model("teacher"), blue.choices.of(Restyling).teacher_steps
    lesson = Treatment(
        method="restyled_teacher_lesson",
        organism=teacher,
        labels=(blue.labels(author="organism", pool="reminder"),),
        start=None,
        start_step=None,
        sft=replace(blue.sft, steps=steps, checkpoints=(steps,)),
    )
    taught = CheckpointModel(base=teacher, training=lesson, step=steps)
    drawn = blue.desk.draw(author="teacher", prompts="blue", model=taught)
    return blue.training("restyled_teacher", blue.desk.audit(drawn))


METHOD = Method(
    name="restyled_teacher",
    summary="answers of a teacher that was first fine-tuned on the organism's outputs",
    source="LessWrong, June 2026",
    build=build_by_teacher,
)
BY_STUDENT = Method(
    name="restyled_by_student",
    summary="teacher's answers, rewritten by the organism in its own style",
    source="LessWrong, June 2026",
    build=build_by_student,
)
