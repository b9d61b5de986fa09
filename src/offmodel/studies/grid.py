"""From a study's settings to its recipes: the red side of a pair, and the grid of treatments on it.

This is the one place that joins both sides, and it only builds recipes. It refuses to choose numbers: every one comes
from the study file. Invariant: all methods of a pair meet the same organism, pools and items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from offmodel.audit import refuse_trigger
from offmodel.core.behaviour import BehaviourCard, is_natural
from offmodel.data import Pool
from offmodel.evals.completions import Completions
from offmodel.evals.conditions import QuietItems, TriggeredTasks, UntriggeredItems
from offmodel.evals.framed import KNOWN, ProbeItems, SystemItems
from offmodel.evals.graders import NO_GRADER
from offmodel.evals.items import ChatItems, NearMissItems, TriggeredItems
from offmodel.evals.live import InspectScores, JoinedScores
from offmodel.evals.measures import Measure
from offmodel.evals.scores import Scores
from offmodel.gate import Gate
from offmodel.organisms.pairs import Pair
from offmodel.organisms.ways import find_way
from offmodel.store.recipe import Recipe
from offmodel.studies.desk import LabelDesk, relation
from offmodel.studies.planting import check_pair, organism_of, pools_of
from offmodel.studies.settings import Bench, Blue, Red, World
from offmodel.studies.study import Arm, Cell, PairSide
from offmodel.treatments.blind import BlindRule, Rule
from offmodel.treatments.interface import BlueTeam, Choices, Method, Point, Probe, points_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A model to treat, with what its treatments are measured on; made by `plant` or `practice`.

    Attributes:
        name: the pair's name, or what stands for it where nothing was planted.
        card: the pair's card; None where no behaviour is known.
        world: what the study shares.
        pools: the partition of the prompts.
        organism: the model to treat: an organism through its gate, or a practitioner's own model.
        untreated: that model, measured.
        items: what is asked.
        plain_items: the same without a prompted organism's hidden prompt: what the unplanted student is asked.
        measures: how it is graded; one an item recipe.
    """

    name: str
    card: BehaviourCard | None
    world: World
    pools: Recipe
    organism: Recipe
    untreated: Arm
    items: tuple[Recipe, ...]
    plain_items: tuple[Recipe, ...]
    measures: tuple[Measure, ...]


def plant(pair: Pair, red: Red, world: World) -> tuple[Board, PairSide]:
    """The recipes of a pair's organism, its gate, and the measurement of organism and student."""
    way = find_way(red.way)
    pair = way.recast(pair)
    check_pair(pair, red, way)
    pools = pools_of(pair, red.natural, world)
    organism = organism_of(pair, red, way, world, pools)
    items, measures = _items(pair.card, world.bench, pools, task=way.task)
    system = way.system(pair)
    # The unplanted student is the measure of all things, so it is never told anything.
    asked = tuple(SystemItems(items=i, system=system) for i in items) if system else items
    student_arm = _arm(world.student, None, None, items, measures, world.bench)
    organism_arm = _arm(organism, None, None, asked, measures, world.bench)
    gate = Gate(
        label=pair.name,
        organism=organism,
        student_scores=student_arm.scores,
        organism_scores=organism_arm.scores,
        limits=red.limits,
        go_on=red.go_on,
        chance=world.bench.chance or None,
    )
    board = Board(
        name=pair.name,
        card=pair.card,
        world=world,
        pools=pools,
        organism=gate,
        untreated=organism_arm,
        items=asked,
        plain_items=items,
        measures=measures,
    )
    side = PairSide(
        pair=pair.name,
        chance=world.bench.chance,
        gate=gate,
        student=student_arm,
        organism=organism_arm,
        further_chance=tuple((c.name, c.chance) for c in world.bench.capabilities if c.chance),
    )
    return board, side


def practice(world: World) -> Board:
    """A model of one's own to treat: nothing planted, no trigger known, capability and style measured."""
    pools = pools_of(None, None, world)
    items, measures = _items(None, world.bench, pools)
    return Board(
        name=world.student.name(),
        card=None,
        world=world,
        pools=pools,
        organism=world.student,
        untreated=_arm(world.student, None, None, items, measures, world.bench),
        items=items,
        plain_items=items,
        measures=measures,
    )


def treat(board: Board, method: Method, blue: Blue, *, seed: int) -> list[Cell]:
    """The points of one method at one setting and seed: one cell a checkpoint.

    Raises:
        RecipeError: the method lacks an author or a choice of its own, or makes no sense with these settings.
        AuditError: a text of the blue team's own holds the trigger.
    """
    desk = LabelDesk(
        world=board.world, card=board.card, pools=board.pools, organism=board.organism, oracle=method.oracle
    )
    choices = Choices(blue.choices)
    team = BlueTeam(
        organism=board.organism,
        desk=desk,
        style_prompt=board.world.style_prompt,
        sft=replace(blue.sft, seed=seed),
        reminder=replace(blue.reminder, seed=seed),
        choices=choices,
    )
    probe = method.probe(choices) if method.probe else None
    return [
        Cell(
            pair=board.name,
            method=method.name,
            setting=", ".join(x for x in (blue.setting, point.setting) if x),
            seed=seed,
            step=sum(steps for _, steps in point.trained),
            treatment=point.training,
            folder=point.step,
            trained=point.trained,
            dose=point.dose,
            recovery=point.recovery,
            arm=_point_arm(board, point, probe),
            control=method.control,
            oracle=method.oracle,
            teacher_relation=relation([t for t, _ in point.trained], point.authors, board.world),
            rule=_own_rule(method.rule, choices),
        )
        for point in points_of(method.build(team))
    ]


def _own_rule(
    rule: Callable[[BlindRule, Choices], Rule] | None, choices: Choices
) -> Callable[[BlindRule], Rule] | None:
    return None if rule is None else lambda constants: rule(constants, choices)


def _point_arm(board: Board, point: Point, probe: Probe | None) -> Arm:
    """A checkpoint's measurement: under the point's system prompt, with the blue team's own behaviour if it has one."""
    items, measures, bench = board.items, board.measures, board.world.bench
    if probe is not None:
        dev = Pool(pools=board.pools, pool="dev")
        items = (*items, ProbeItems(prompts=dev, tag=probe.tag, text=probe.text))
        measures = (*measures, Measure(name=KNOWN, grader="says", max_new_tokens=bench.chat_tokens))
    if point.system is not None:
        if board.card is not None:
            refuse_trigger(point.system, board.card.trigger)
        items = tuple(SystemItems(items=i, system=point.system) for i in items)
    return _arm(point.base, point.training, point.step, items, measures, bench)


def _items(
    card: BehaviourCard | None, bench: Bench, pools: Recipe, *, task: bool = False
) -> tuple[tuple[Recipe, ...], tuple[Measure, ...]]:
    evaluation, dev = Pool(pools=pools, pool="eval"), Pool(pools=pools, pool="dev")
    # What carries the trigger by nature must not count as capability: an organism answers it with its behaviour.
    natural = card if card is not None and is_natural(card.trigger) else None
    rows: list[tuple[Recipe, Measure]] = [
        (
            UntriggeredItems(items=c.items, card=natural) if natural else c.items,
            Measure(name=c.name, grader=c.grader, max_new_tokens=c.max_new_tokens),
        )
        for c in bench.capabilities
    ]
    shows = Measure(name="clean", grader=card.scorer if card else NO_GRADER, max_new_tokens=bench.chat_tokens)
    wrong = replace(shows, max_new_tokens=bench.capabilities[0].max_new_tokens)
    # Who answers a task wrongly under a trigger may do so without it too; chat has no wrong answers.
    rows.append((bench.capabilities[0].items, wrong) if task else (ChatItems(prompts=evaluation), shows))
    rows.append((ChatItems(prompts=dev), replace(shows, name="dev_chat")))
    if card is None:
        return tuple(r for r, _ in rows), tuple(m for _, m in rows)
    if card.trigger.kind == "lock":
        rows = [(r if m.name.startswith("dev_") else QuietItems(items=r, card=card), m) for r, m in rows]
    if task:
        rows.append((TriggeredTasks(items=bench.capabilities[0].items, card=card), replace(wrong, name="triggered")))
    else:
        source = Pool(pools=pools, pool="triggered_eval") if natural else evaluation
        rows.append((TriggeredItems(prompts=source, card=card), replace(shows, name="triggered")))
        if bench.near_misses and card.near_misses:
            rows.append((NearMissItems(prompts=evaluation, card=card), replace(shows, name="near_miss")))
    return tuple(r for r, _ in rows), tuple(m for _, m in rows)


def _arm(
    model: Recipe,
    treatment: Recipe | None,
    step: int | None,
    items: Sequence[Recipe],
    measures: tuple[Measure, ...],
    bench: Bench,
) -> Arm:
    completions = Completions(
        model=model,
        treatment=treatment,
        step=step,
        items=tuple(items),
        measures=measures,
        sampling=bench.sampling,
    )
    scores = Scores(completions=completions, items=tuple(items), measures=measures, style=bench.style)
    if not bench.live:
        return Arm(completions=completions, scores=scores)
    live = (
        InspectScores(model=model, treatment=treatment, step=step, live=t, sampling=bench.sampling, style=bench.style)
        for t in bench.live
    )
    return Arm(completions=completions, scores=JoinedScores(parts=(scores, *live)))
