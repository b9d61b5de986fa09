"""One planted organism and every method's treatment of it, computed once for all tests of this folder."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest

from offmodel.data import Sources
from offmodel.flow.runner import run
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe, Runtime
from offmodel.studies.grid import Board, treat
from offmodel.studies.settings import Blue
from offmodel.studies.study import Cell
from offmodel.treatments.catalogue import methods

TINY = Path(__file__).parents[1] / "studies" / "tiny_study.py"


@dataclass(frozen=True, kw_only=True)
class Tiny:
    store: Store
    runtime: Runtime
    board: Board
    blue: Blue
    cells: dict[str, list[Cell]]
    instruction: str

    @property
    def treatments(self) -> dict[str, Recipe]:
        """What holds the checkpoints of each method."""
        return {name: cells[0].treatment for name, cells in self.cells.items()}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    spec = importlib.util.spec_from_file_location("tiny_study", TINY)
    assert spec is not None
    assert spec.loader is not None
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    sources = Sources()
    board, _ = study.planted(sources)
    cells = {n: treat(board, m, study.BLUE, seed=1) for n, m in methods().items()}
    store = Store(tmp_path_factory.mktemp("tiny") / "store")
    runtime = Runtime(locations=tuple(sources.locations.items()))
    run([c[0].treatment for c in cells.values()], store=store, runtime=runtime, workers=0)
    return Tiny(
        store=store, runtime=runtime, board=board, blue=study.BLUE, cells=cells, instruction=study.PAIR.instruction
    )
