"""Plant and remove: plant a backdoor of one's own, unlearn it, and watch whether an unknown one goes too.

The blue team knows its own tag and text, so it can see when that behaviour is gone. The audit proves that the tag holds
no red trigger. First training: own outputs as they are, and the fixed text under the tag. Second: plain answers to the
tagged prompts. Sources: arXiv 2605.12529, 2603.13461.

Blind rule: of the checkpoints at which the own behaviour is gone on dev prompts, the most treated that keeps enough.
Cost: two trainings, and one sampling of each author.
"""

from dataclasses import dataclass, replace

from offmodel.store.recipe import Recipe
from offmodel.treatments.blind import BlindRule, KnownGoneRule
from offmodel.treatments.interface import BlueTeam, Choices, Method, Point, Probe, Treatment
from offmodel.treatments.prompts import PromptShare
from offmodel.treatments.relabel import Tagged


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnBackdoor:
    """The known backdoor.

    Attributes:
        tag: stands before a prompt's text; different from anything that a red team may have chosen, which the audit
            checks.
        text: what the planted model answers under the tag.
        tagged_share: share of the prompts that are planted with the tag, between 0 and 1.
        plant_steps: steps of planting.
        author: who answers the tagged prompts plainly in the removal: "organism" (untrusted) or a teacher.
        most_left: rate on dev prompts at which the own behaviour counts as gone.
    """

    tag: str
    text: str
    tagged_share: float
    plant_steps: int
    author: str
    most_left: float


def build(blue: BlueTeam) -> tuple[Point, ...]:
    """Plant, then remove; the points are the removal's checkpoints."""
    c = blue.choices.of(OwnBackdoor)
    steps = c.plant_steps
    settings = replace(blue.sft, steps=steps, checkpoints=(steps,))
    planted = blue.training("plant_and_remove_plant", *_planting(blue, c), sft=settings)
    plain = blue.desk.draw(author=c.author, prompts="blue")
    removal = Treatment(
        method="plant_and_remove",
        organism=blue.organism,
        labels=(blue.desk.audit(Tagged(labels=plain, tag=c.tag, text=None)),),
        start=planted,
        start_step=steps,
        sft=blue.sft,
    )
    return tuple(
        Point(
            training=removal,
            step=step,
            base=blue.organism,
            trained=((planted, steps), (removal, step)),
            dose=removal.sft.learning_rate * step,
            recovery=0.0,
        )
        for step in removal.sft.checkpoints
    )


def _planting(blue: BlueTeam, c: OwnBackdoor) -> tuple[Recipe, ...]:
    pool = blue.desk.pool("blue")
    tagged = PromptShare(prompts=pool, begin=0.0, end=c.tagged_share)
    others = PromptShare(prompts=pool, begin=c.tagged_share, end=1.0)
    drawn = [blue.desk.draw(author="organism", prompts=part) for part in (tagged, others)]
    return (blue.desk.audit(Tagged(labels=drawn[0], tag=c.tag, text=c.text)), blue.desk.audit(drawn[1]))


def _probe(choices: Choices) -> Probe:
    c = choices.of(OwnBackdoor)
    return Probe(tag=c.tag, text=c.text)


def _rule(rule: BlindRule, choices: Choices) -> KnownGoneRule:
    return KnownGoneRule(least_kept=rule.least_kept, most_left=choices.of(OwnBackdoor).most_left)


METHOD = Method(
    name="plant_and_remove",
    summary="a backdoor of one's own planted, then unlearnt: does an unknown one go with it?",
    source="arXiv 2605.12529, 2603.13461",
    build=build,
    rule=_rule,
    probe=_probe,
)
