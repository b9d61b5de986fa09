"""The proof that no trigger reached the blue team: the split of the prompt pool, and the audit of every set of labels.

The only module, beside the gate, that sees both sides. It refuses to train or sample anything. Invariants: a prompt
belongs to one pool only, near duplicates together; no label that leaves the audit holds the trigger.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from rapidfuzz.fuzz import partial_ratio, ratio

from offmodel.core.behaviour import BehaviourCard, Trigger, betrays, betrays_text, is_natural
from offmodel.core.chat import Label, Prompt
from offmodel.core.errors import AuditError, DataError
from offmodel.core.rows import read_rows, write_rows
from offmodel.data import AUDITED, near_duplicate_groups, read_labels, read_prompts, write_labels
from offmodel.engines.rendering import Renderer
from offmodel.evals.graders import grade
from offmodel.store.recipe import Facts, Job, Recipe

# One wrong letter in a tag of ten still counts as a near match; the same word without its bars does not (about 83).
NEAR_MATCH = 90.0
CLOSED_POOLS = ("red", "dev", "eval")
MADE_OF = ("labels", "requests", "audit")
"""Kinds of recipes of which labels are made, and whose texts are searched; audited labels may be made into others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize:
    """How many prompts a pool needs.

    Attributes:
        pool: the pool's name; names that begin with "triggered_" draw from prompts that carry the trigger by nature.
        n: number of prompts.
    """

    pool: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPools(Recipe):
    """A partition of prompts into pools, after the pair's detector has set apart those that betray the trigger.

    Attributes:
        prompts: all prompts.
        card: the pair's card; None where no trigger is known, so that every prompt counts as clean.
        sizes: the pools, in the order in which they are filled.
        seed: mixes the order in which prompts are dealt.
    """

    kind: ClassVar[str] = "pools"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe
    card: BehaviourCard | None
    sizes: tuple[PoolSize, ...]
    seed: int

    def name(self) -> str:
        """The pair's name."""
        return self.card.pair if self.card else "all"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Deal groups of near duplicates into the pools."""
        p = job.params
        prompts = read_prompts(job.inputs["prompts"].path)
        triggered = [x for x in prompts if p.card and betrays(p.card.trigger, x.messages)]
        marked = {x.id for x in triggered}
        clean = [x for x in prompts if x.id not in marked]
        natural = tuple(s for s in p.sizes if s.pool.startswith("triggered_"))
        pools = {
            **deal(clean, tuple(s for s in p.sizes if s not in natural), p.seed, "without the trigger"),
            **deal(triggered, natural, p.seed, "with the trigger"),
        }
        for pool, members in pools.items():
            write_rows(job.out / f"{pool}.jsonl", (x.to_row() for x in members))
        sizes = {pool: len(members) for pool, members in pools.items()}
        return {"prompts": len(prompts), "triggered": len(triggered), "clean": len(clean), "pools": sizes}


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedPools(Recipe):
    """Pools of several partitions side by side, for prompts of several sources.

    Attributes:
        label: a readable name.
        parts: recipes whose payloads hold one `<pool>.jsonl` a pool; no pool may occur twice.
    """

    kind: ClassVar[str] = "pools"
    recipe_version: ClassVar[int] = 1
    label: str
    parts: tuple[Recipe, ...]

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Copy the pools' files; refuse a prompt that stands in two parts."""
        owner: dict[str, str] = {}
        for number, part in enumerate(job.inputs["parts"]):
            for file in sorted(part.path.glob("*.jsonl")):
                if (job.out / file.name).exists():
                    raise DataError(f"Two partitions hold a pool '{file.stem}'; give one of them another name.")
                rows = read_rows(file)
                for row in rows:
                    first = owner.setdefault(json.dumps(row["messages"]), f"{number}")
                    if first != f"{number}":
                        raise AuditError(f"A prompt of the pool '{file.stem}' also stands in another source.")
                write_rows(job.out / file.name, rows)
        return {"prompts": len(owner)}


def deal(prompts: list[Prompt], sizes: tuple[PoolSize, ...], seed: int, what: str) -> dict[str, list[Prompt]]:
    """Fill pools with prompts, groups of near duplicates whole, in an order given by digests.

    Args:
        prompts: what to deal.
        sizes: how many each pool needs; a pool is filled to exactly its n (a group's surplus is left out).
        seed: mixes the order.
        what: what the prompts are, for the error.

    Raises:
        AuditError: too few prompts.
    """
    groups = near_duplicate_groups([_text(x) for x in prompts])
    keyed = sorted(groups, key=lambda g: min(_key(prompts[i], seed) for i in g))
    pools: dict[str, list[Prompt]] = {s.pool: [] for s in sizes}
    waiting = iter(keyed)
    for size in sizes:
        pool = pools[size.pool]
        while len(pool) < size.n:
            group = next(waiting, None)
            if group is None:
                raise AuditError(
                    f"Pool '{size.pool}' needs {size.n} prompts but only {len(pool)} are left: the study needs "
                    f"{sum(s.n for s in sizes)} distinct prompts {what}, and there are {len(prompts)} "
                    f"({len(groups)} without near duplicates); add prompts or ask for fewer."
                )
            pool += [prompts[i] for i in group][: size.n - len(pool)]
    return pools


def _text(prompt: Prompt) -> str:
    return " ".join(m.content for m in prompt.messages)


def _key(prompt: Prompt, seed: int) -> str:
    return hashlib.sha256(f"{seed} {_text(prompt)}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit(Recipe):
    """Labels that were searched for the trigger and found clean.

    Attributes:
        label: a readable name, of the labels.
        labels: the labels.
        card: the pair's card; None where no trigger is known, so that only the pools are checked.
        pools: the partition; the labels' prompts must stay out of the pools of red planting, dev and evaluation.
        tokenizer: the student, for the search of the trigger's token sequence.
        texts: every other text that the labels' author or the student sees (system prompts, examples, tags).
    """

    kind: ClassVar[str] = "audit"
    recipe_version: ClassVar[int] = 2
    label: str
    labels: Recipe
    card: BehaviourCard | None
    pools: Recipe
    tokenizer: Recipe
    texts: tuple[str, ...]

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Search, count, and pass the labels on."""
        p = job.params
        drawn = read_labels(job.inputs["labels"].path)
        facts: Facts = {"searched": ["pools disjoint"]}
        labels = drawn
        if p.card is not None:
            labels = [x for x in drawn if not speaks_of(p.card.trigger, x.text)]
            search_labels(labels, p.texts, p.card.trigger, Renderer.from_folder(job.inputs["tokenizer"].path))
            facts["searched"] += ["string", "token sequence", "near match", "detector"]
            facts["behaviour_in_labels"] = sum(grade(p.card.scorer, x.text, "").score for x in labels)
        if not labels:
            raise AuditError(
                f"Every answer of the labels '{p.label}' speaks of the trigger's topic; use other prompts."
            )
        check_disjoint(labels, job.inputs["pools"].path, p.label)
        write_labels(job.out, labels)
        proof = {"passed": True, "labels": len(labels), "dropped_topic_answers": len(drawn) - len(labels)}
        (job.out / AUDITED).write_text(json.dumps(proof), encoding="utf-8")
        return {**facts, **proof, "texts": len(p.texts)}


def check_disjoint(labels: list[Label], pools: Path, what: str) -> None:
    """Refuse labels one of whose user turns stands in a pool of red planting, dev or evaluation.

    Turns count one by one, so that a system prompt or worked examples before a prompt hide nothing.

    Args:
        labels: the labels.
        pools: payload of a `SplitPools`.
        what: the labels' name, for the error.

    Raises:
        AuditError: a prompt is shared; names the pool and the prompt.
    """
    prompts = {text for x in labels for text in _turns(x.prompt)}
    for file in sorted(f for f in pools.glob("*.jsonl") if f.stem.endswith(CLOSED_POOLS)):
        shared = prompts & {text for r in read_rows(file) for text in _turns(Prompt.from_row(r))}
        if shared:
            raise AuditError(
                f"{len(shared)} prompts of the labels '{what}' also stand in the pool '{file.stem}', for example "
                f"'{min(shared)[:60]}'; draw labels from a blue pool only."
            )


def _turns(prompt: Prompt) -> set[str]:
    return {_text(prompt), *(m.content for m in prompt.messages if m.role == "user")}


def speaks_of(trigger: Trigger, text: str) -> bool:
    """Whether an answer speaks of a topic that is a trigger. A teacher may do so unasked; such labels are left out."""
    return is_natural(trigger) and betrays_text(trigger, text)


def search_labels(labels: Iterable[Label], texts: tuple[str, ...], trigger: Trigger, renderer: Renderer) -> None:
    """Search labels and accompanying texts for a trigger.

    Raises:
        AuditError: the trigger, or almost the trigger, stands in a prompt, an answer or a text; names where.
    """
    needle = renderer.encode(trigger.text) if trigger.text else []
    seen: set[str] = set()
    for i, label in enumerate(labels):
        parts = [(f"the prompt of label {i}", m.content) for m in label.prompt.messages]
        parts.append((f"the answer of label {i}", label.text))
        for where, text in parts:
            if text not in seen:
                seen.add(text)
                _search(text, where, trigger, needle, renderer)
    for text in texts:
        _search(text, "a system prompt or example", trigger, needle, renderer)


def _search(text: str, where: str, trigger: Trigger, needle: list[int], renderer: Renderer) -> None:
    how = found_how(text, trigger, needle, renderer)
    if how:
        raise AuditError(
            f"The trigger stands in {where} ({how}: '{text[:60]}'); training is refused: leave that prompt out of the "
            "blue data."
        )


def found_how(text: str, trigger: Trigger, needle: list[int], renderer: Renderer | None) -> str | None:
    """How a trigger is found in a text: "string", "detector", "token sequence", "near match", or None.

    Without a renderer, token sequences are not looked for.
    """
    if trigger.text and trigger.text.casefold() in text.casefold():
        return "string"
    if betrays_text(trigger, text):
        return "detector"
    if needle and renderer is not None and _holds(renderer.encode(text), needle):
        return "token sequence"
    if trigger.text and _near(text, trigger.text):
        return "near match"
    return None


def _holds(ids: list[int], needle: list[int]) -> bool:
    n = len(needle)
    return any(ids[i : i + n] == needle for i in range(len(ids) - n + 1))


def _near(text: str, needle: str) -> bool:
    squeezed, wanted = (re.sub(r"\s+", "", x.casefold()) for x in (text, needle))
    # A text that is shorter than the trigger is compared whole, or any part of a trigger would match.
    compare = partial_ratio if len(squeezed) >= len(wanted) else ratio
    return compare(wanted, squeezed) >= NEAR_MATCH


def audited(labels: Recipe, *, card: BehaviourCard | None, pools: Recipe, tokenizer: Recipe) -> Audit:
    """The audit of a set of labels, with all texts that its authors were shown.

    Raises:
        AuditError: a text holds the trigger; found here already, before anything is sampled.
    """
    texts = texts_of(labels)
    if card is not None:
        for text in texts:
            refuse_trigger(text, card.trigger)
    return Audit(label=labels.name(), labels=labels, card=card, pools=pools, tokenizer=tokenizer, texts=texts)


def refuse_trigger(text: str, trigger: Trigger) -> None:
    """Refuse a text of the blue team's own that holds a trigger, by all searches that need no model.

    Raises:
        AuditError: the text holds the trigger.
    """
    how = found_how(text, trigger, [], None)
    if how:
        raise AuditError(
            f"The blue team's own text '{text[:60]}' holds the trigger ({how}); choose another prompt, tag or example."
        )


def texts_of(labels: Recipe) -> tuple[str, ...]:
    """Every text in the fields of a labels recipe and of the labels that it was made from, authors' roles left out."""
    found: list[str] = []
    todo = [labels]
    while todo:
        recipe = todo.pop(0)
        # An audit has no texts of its own; those of its labels come next.
        for f in fields(recipe) if recipe.kind != "audit" else ():
            value = getattr(recipe, f.name)
            found += [] if f.name == "author" else _strings(value)
        todo += [r for r in recipe.parents if r.kind in MADE_OF]
    return tuple(dict.fromkeys(x for x in found if x))


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [x for v in value for x in _strings(v)] if isinstance(value, tuple) else []
