"""Labels made from labels: other prompts in training than in sampling, other answers, examples set before them.

All are recipes of kind "labels", so each goes through the audit as the labels that it was made of do. This module
refuses to know who uses them. Invariant: author and trust go with the text: whoever rewrites an answer is its author.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from offmodel.core.chat import Label, Message, Prompt
from offmodel.core.errors import DataError, RecipeError
from offmodel.data import read_labels, read_prompts, write_labels, write_prompts
from offmodel.engines.labels import shown_to_author
from offmodel.store.recipe import Facts, Job, Recipe
from offmodel.treatments.prompts import number_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed(Recipe):
    """Labels whose prompts stand under a system prompt in training.

    Attributes:
        labels: the labels.
        system: the system prompt; before the prompt's own, if it has one.
    """

    kind: ClassVar[str] = "labels"
    recipe_version: ClassVar[int] = 1
    labels: Recipe
    system: str

    def name(self) -> str:
        """The labels' name."""
        return f"{self.labels.name()}-placed"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Put the system prompt before each prompt."""
        found = [under(x, job.params.system, ()) for x in read_labels(job.inputs["labels"].path)]
        write_labels(job.out, found)
        return {"labels": len(found)}


def under(label: Label, system: str | None, few_shot: tuple[tuple[str, str], ...]) -> Label:
    """The label with a system prompt and worked turns before its prompt."""
    return replace(
        label, prompt=replace(label.prompt, messages=shown_to_author(label.prompt.messages, system, few_shot))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WithExamples(Recipe):
    """Labels under a prompt that shows some of them as examples; these are not trained on.

    Attributes:
        labels: the labels; the first whole ones are the examples.
        lead: what the system prompt says before the examples, or alone where they are turns.
        examples: how many.
        form: "system" (examples inside the system prompt) or "turns" (as a conversation before the prompt).
    """

    kind: ClassVar[str] = "labels"
    recipe_version: ClassVar[int] = 1
    labels: Recipe
    lead: str
    examples: int
    form: str

    def __post_init__(self) -> None:
        """Refuse an unknown form."""
        Recipe.__post_init__(self)
        if self.form not in ("system", "turns"):
            raise RecipeError(f"Examples cannot be shown as '{self.form}'; use 'system' or 'turns'.")

    def name(self) -> str:
        """The labels' name."""
        return f"{self.labels.name()}-examples"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Set the examples before every other label."""
        p = job.params
        found = read_labels(job.inputs["labels"].path)
        whole = [x for x in found if x.finish == "stop"][: p.examples]
        if len(whole) < p.examples or len(found) <= p.examples:
            raise DataError(f"Of {len(found)} labels, {len(whole)} are whole: too few for {p.examples} examples.")
        shown = tuple((x.prompt.messages[-1].content, x.text) for x in whole)
        system, turns = (_in_one(p.lead, shown), ()) if p.form == "system" else (p.lead, shown)
        made = [under(x, system, turns) for x in found if x not in whole]
        write_labels(job.out, made)
        return {"labels": len(made), "examples": len(whole)}


def _in_one(lead: str, shown: tuple[tuple[str, str], ...]) -> str:
    return "\n\n".join([lead, *(f"{asked}\n{answer}" for asked, answer in shown)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged(Recipe):
    """Labels with a tag before the prompt, and with another answer if one is given.

    Attributes:
        labels: the labels.
        tag: stands before the prompt's text.
        text: the answer of all of them, by the author "blue"; None keeps answers and authors.
    """

    kind: ClassVar[str] = "labels"
    recipe_version: ClassVar[int] = 1
    labels: Recipe
    tag: str
    text: str | None

    def name(self) -> str:
        """The labels' name."""
        return f"{self.labels.name()}-tagged"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Put the tag, and the answer, into each label."""
        p = job.params
        made = [_tagged(x, p.tag, p.text) for x in read_labels(job.inputs["labels"].path)]
        write_labels(job.out, made)
        return {"labels": len(made)}


def _tagged(label: Label, tag: str, text: str | None) -> Label:
    last = label.prompt.messages[-1]
    messages = (*label.prompt.messages[:-1], Message(last.role, f"{tag} {last.content}"))
    asked = replace(label, prompt=replace(label.prompt, id=f"{label.prompt.id}+tag", messages=messages))
    return asked if text is None else replace(asked, text=text, author="blue", trusted=True, finish="stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteRequests(Recipe):
    """Requests to rewrite labels' answers; answers that were cut off are left out.

    Attributes:
        labels: the labels.
        instruction: what is asked, with `{prompt}` and `{answer}`.
    """

    kind: ClassVar[str] = "requests"
    recipe_version: ClassVar[int] = 1
    labels: Recipe
    instruction: str

    def __post_init__(self) -> None:
        """Refuse an instruction that does not show the answer."""
        Recipe.__post_init__(self)
        if "{answer}" not in self.instruction:
            raise RecipeError(
                "The instruction to rewrite lacks '{answer}', where the answer to rewrite stands; add it."
            )

    def name(self) -> str:
        """The labels' name."""
        return f"rewrite-{self.labels.name()}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Put each answer, with its prompt, into the instruction."""
        found = [x for x in read_labels(job.inputs["labels"].path) if x.finish == "stop"]
        write_prompts(job.out, [_request(x, job.params.instruction) for x in found])
        return {"prompts": len(found)}


def _request(label: Label, instruction: str) -> Prompt:
    *before, last = label.prompt.messages
    text = instruction.replace("{prompt}", last.content).replace("{answer}", label.text)
    return replace(label.prompt, messages=(*before, Message("user", text)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten(Recipe):
    """Labels whose answers were rewritten: the rewriter's words for the first labels' prompts.

    Attributes:
        labels: the rewriter's answers to `RewriteRequests`.
        originals: the labels that were rewritten.
    """

    kind: ClassVar[str] = "labels"
    recipe_version: ClassVar[int] = 1
    labels: Recipe
    originals: Recipe

    def name(self) -> str:
        """Both authors."""
        return f"{self.originals.name()}-by-{self.labels.name()}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Give each answer its first prompt back."""
        prompts = {x.prompt.id: x.prompt for x in read_labels(job.inputs["originals"].path)}
        answers = read_labels(job.inputs["labels"].path)
        write_labels(job.out, [replace(x, prompt=prompts[x.prompt.id]) for x in answers])
        return {"labels": len(answers)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberLabels(Recipe):
    """Random numbers as answers, by no model at all; the author is "generator".

    Attributes:
        prompts: what they answer.
        length: numbers in each answer.
        largest: no number is larger.
        end: written after the last number.
        seed: of the generator.
    """

    kind: ClassVar[str] = "labels"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe
    length: int
    largest: int
    end: str
    seed: int

    def name(self) -> str:
        """A fixed name."""
        return "generator"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Generate the answers."""
        p = job.params
        rng = Random(f"number labels {p.seed}")
        made = [_written(q, number_list(rng, p.length, p.largest) + p.end) for q in _asked(job)]
        write_labels(job.out, made)
        return {"labels": len(made)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered(Recipe):
    """Prompts as labels without an answer, so that prompts alone can go through the audit.

    Attributes:
        prompts: the prompts.
    """

    kind: ClassVar[str] = "labels"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe

    def name(self) -> str:
        """The prompts' name."""
        return f"{self.prompts.name()}-unanswered"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Copy the prompts."""
        made = [replace(_written(q, ""), author="nobody") for q in _asked(job)]
        write_labels(job.out, made)
        return {"labels": len(made)}


def _asked(job: Job) -> list[Prompt]:
    return read_prompts(job.inputs["prompts"].path)


def _written(prompt: Prompt, text: str) -> Label:
    return Label(prompt=prompt, text=text, author="generator", trusted=True, finish="stop", tokens=len(text.split()))
