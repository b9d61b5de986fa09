"""The page on adding a treatment shows a whole file: installed from outside through an entry point, it trains."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offmodel.core.errors import RecipeError
from offmodel.core.rows import read_rows
from offmodel.flow.runner import run
from offmodel.studies.grid import treat
from offmodel.treatments.catalogue import find_method, methods

PAGE = Path(__file__).parents[2] / "docs" / "add-a-treatment.md"


def install(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write the page's file with the metadata of an installed package; gives the module."""
    found = re.search(r'```python title="(?P<file>\w+)\.py"\n(?P<code>.*?)```', PAGE.read_text(), re.DOTALL)
    assert found is not None
    (root / f"{found['file']}.py").write_text(found["code"])
    info = root / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[offmodel.treatments]\n{found['file']} = {found['file']}:METHOD\n")
    monkeypatch.delitem(sys.modules, found["file"], raising=False)
    monkeypatch.syspath_prepend(str(root))
    return __import__(found["file"])


def test_the_pages_method_trains_as_any_of_the_library(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = install(tmp_path, monkeypatch)
    assert "half_and_half" in methods()
    with pytest.raises(RecipeError, match="no settings 'HalfAndHalf'"):
        treat(tiny.board, find_method("half_and_half"), tiny.blue, seed=1)
    blue = replace(tiny.blue, choices=(*tiny.blue.choices, module.HalfAndHalf(own=4)))
    cell = treat(tiny.board, find_method("half_and_half"), blue, seed=1)[-1]
    (trained,) = run([cell.treatment], store=tiny.store, runtime=tiny.runtime, workers=0).artifacts
    authors = trained.record["facts"]["tokens_by_step"]["3"]
    assert {a: found["trusted"] for a, found in authors.items()} == {"organism": False, "teacher": True}
    rows = [r for p in cell.treatment.parents[1:] for r in read_rows(tiny.store.find(p).payload / "labels.jsonl")]
    assert sum(r["author"] == "organism" for r in rows) == 4


def test_it_is_gone_when_it_is_not_installed() -> None:
    assert "half_and_half" not in methods()
