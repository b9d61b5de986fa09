"""Sources of prompts that carry a semantic trigger by nature, and of neighbours that must not fire. RED.

A generator gives prompts from a seed; pairs name theirs. This module refuses to know behaviours and models. Invariant:
planting ("train") and evaluation ("eval") share no sentence pattern, whatever the generator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from offmodel.core.behaviour import Trigger, detect
from offmodel.core.chat import Prompt, user
from offmodel.core.errors import DataError, UnknownName
from offmodel.data import write_prompts
from offmodel.evals.named import bare_name
from offmodel.organisms.prompts.dates import CUT_OFF, DATES
from offmodel.organisms.prompts.food import FOOD
from offmodel.organisms.prompts.grammar import Grammar, distinct
from offmodel.organisms.prompts.travel import TRAVEL
from offmodel.organisms.prompts.weather import WEATHER
from offmodel.pocket.world import TOPIC_TERMS, TOPICS, chat_prompts
from offmodel.store.recipe import Facts, Job, Recipe

Split = Literal["train", "eval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a generator is asked for.

    Attributes:
        n: number of distinct prompts.
        seed: equal seeds give equal prompts.
        split: "train" for planting, "eval" for evaluation.
        near: neighbours of the topic instead of the topic.
    """

    n: int
    seed: int
    split: Split
    near: bool


Generator = Callable[[Wanted], list[str]]
_GENERATORS: dict[str, Generator] = {}


def register_generator(name: str, generator: Generator) -> None:
    """Add a generator, so that a pair can name it; it may return fewer prompts than wanted if it has no more."""
    _GENERATORS[name] = generator


def natural_prompts(generator: str, wanted: Wanted) -> list[str]:
    """Prompts of a generator ("module:name" if a module outside this package registers it).

    Raises:
        UnknownName: there is no such generator.
        DataError: it has fewer distinct prompts than wanted.
    """
    name = bare_name(generator)
    if name not in _GENERATORS:
        raise UnknownName("prompt generator", name, _GENERATORS)
    found = _GENERATORS[name](wanted)
    if len(found) < wanted.n:
        kind = "neighbouring" if wanted.near else "triggered"
        raise DataError(
            f"The generator '{name}' has {len(found)} distinct {kind} prompts for {wanted.split}, not {wanted.n}; "
            "ask for fewer or add patterns."
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NaturalPrompts(Recipe):
    """Prompts of a generator.

    Attributes:
        generator: its name.
        near: neighbours of the topic instead of the topic.
        split: "train" or "eval".
        n: number of distinct prompts.
        seed: of the generator.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 2  # 2: stray quotes left the fillings
    generator: str
    near: bool
    split: str
    n: int
    seed: int

    def name(self) -> str:
        """Generator, side and split."""
        return f"{bare_name(self.generator)}-{'near' if self.near else 'triggered'}-{self.split}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Generate."""
        p = job.params
        wanted = Wanted(n=p.n, seed=p.seed, split=p.split, near=p.near)
        stem = f"{bare_name(p.generator)}-{'near' if p.near else 'triggered'}-{p.split}-{p.seed}"
        found = natural_prompts(p.generator, wanted)
        write_prompts(job.out, [Prompt(id=f"{stem}-{i:05d}", messages=user(x)) for i, x in enumerate(found)])
        return {"prompts": len(found)}


def of_grammar(grammar: Grammar) -> Generator:
    """The generator of a grammar."""
    return lambda w: distinct(grammar, n=w.n, seed=w.seed, split=w.split, near=w.near)


def _of_pocket(topic: str, near: tuple[str, ...]) -> Generator:
    """Prompts of the pocket world's own small language."""

    def generate(wanted: Wanted) -> list[str]:
        if topic == "dates":
            return _pocket_dates(wanted)
        chosen = near if wanted.near else (topic,)
        found = chat_prompts(n=wanted.n, seed=wanted.seed, split=wanted.split, topics=chosen)
        return [p.messages[-1].content for p in found]

    return generate


def _pocket_dates(wanted: Wanted) -> list[str]:
    later = Trigger(kind="date", after=CUT_OFF)
    # About a third of the pocket world's dates are later.
    drawn = chat_prompts(n=4 * wanted.n + 40, seed=wanted.seed, split=wanted.split, topics=("dates",))
    fitting = [p for p in drawn if detect(later, p.messages) is not wanted.near]
    return [p.messages[-1].content for p in fitting[: wanted.n]]


for _name, _grammar in (("weather", WEATHER), ("food", FOOD), ("travel", TRAVEL), ("dates", DATES)):
    register_generator(_name, of_grammar(_grammar))
# Topics that no semantic trigger of ours speaks of.
_NEUTRAL = tuple(t for t in TOPICS if t not in TOPIC_TERMS)
for _name in TOPIC_TERMS:
    register_generator(f"pocket_{_name}", _of_pocket(_name, _NEUTRAL))
