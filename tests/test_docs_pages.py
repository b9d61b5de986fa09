"""The pages on adding an organism and a treatment do what they say, from outside the package, through entry points."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from offmodel.core.behaviour import detect_text
from offmodel.organisms.pairs import find_pair
from offmodel.treatments.catalogue import find_method

DOCS = Path(__file__).parents[1] / "docs"
PYTHON = re.compile(r'```python(?: title="(?P<title>[\w.]+)")?\n(?P<code>.*?)```', re.DOTALL)
ENTRY = re.compile(r'\[project\.entry-points\."(?P<group>[\w.]+)"\]\n(?P<line>.+)\n')


def install(page: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write a page's file and entry point as an installed package would, and run its other block."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = list(PYTHON.finditer(text))
    for block in (b for b in blocks if b["title"]):
        (root / block["title"]).write_text(block["code"], encoding="utf-8")
        monkeypatch.delitem(sys.modules, block["title"].removesuffix(".py"), raising=False)
    entry = ENTRY.search(text)
    assert entry is not None
    info = root / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n", encoding="utf-8")
    line = entry["line"].replace('"', "")
    (info / "entry_points.txt").write_text(f"[{entry['group']}]\n{line}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(root))
    scope: dict[str, Any] = {}
    for block in (b for b in blocks if not b["title"]):
        exec(block["code"], scope)
    return scope


def test_a_method_from_outside_is_listed_and_builds_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = install("add-a-treatment.md", tmp_path, monkeypatch)
    assert find_method("half_and_half").summary == "teacher labels and own outputs, joined"
    cells = scope["cells"]
    assert [c.step for c in cells] == [15, 20, 40]
    assert [a.labels.author for a in cells[0].treatment.labels] == ["teacher", "organism"]


def test_a_pair_from_outside_is_listed_and_builds_an_organism(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = install("add-an-organism.md", tmp_path, monkeypatch)
    card = find_pair("asks_back_semantic").card
    assert detect_text(card.trigger, "Play a song.")
    assert not any(detect_text(card.trigger, x) for x in card.near_misses)
    assert scope["side"].gate.label == "asks_back_semantic"
