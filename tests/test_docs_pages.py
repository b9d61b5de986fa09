"""The pages on adding an organism and a treatment do what they say: typed into a folder, and installed as a package."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from offmodel.core.behaviour import detect_text
from offmodel.organisms.pairs import find_pair
from offmodel.studies.catalogue import load_study
from offmodel.studies.study import Study
from offmodel.treatments.catalogue import find_method

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r'```(?P<kind>\w*)(?: title="(?P<title>[\w.]+)")?\n(?P<code>.*?)```', re.DOTALL)
RUN = re.compile(r"^offmodel run (\w+\.py)$", re.MULTILINE)


def typed(page: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Write a page's files into a folder; gives the study that its command runs."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        assert block["title"] or block["kind"] not in ("python", "toml"), "a block that no file holds"
        if block["title"]:
            (root / block["title"]).write_text(block["code"], encoding="utf-8")
            monkeypatch.delitem(sys.modules, block["title"].removesuffix(".py"), raising=False)
    (name,) = RUN.findall(text)
    return load_study(str(root / name))


def install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install what the page's pyproject.toml describes, without a network."""
    about: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    for file in about["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]:
        assert (root / file).is_file()
    project = about["project"]
    info = root / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head, encoding="utf-8")
    ((group, entries),) = project["entry-points"].items()
    lines = (f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{''.join(lines)}", encoding="utf-8")
    monkeypatch.syspath_prepend(str(root))


def test_a_typed_method_builds_points_and_is_listed_once_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = typed("add-a-treatment.md", tmp_path, monkeypatch)
    mine = [c for c in study.cells if c.method == "half_and_half"]
    assert [c.step for c in mine] == [15, 20, 40]
    assert [a.labels.author for a in mine[0].treatment.labels] == ["teacher", "organism"]  # pyright: ignore[reportAttributeAccessIssue]
    assert {c.method for c in study.cells} == {"half_and_half", "off_model_sft+reminder"}
    install(tmp_path, monkeypatch)
    assert find_method("half_and_half").summary == "teacher labels and own outputs, joined"
    assert find_method("half_and_half+reminder").name == "half_and_half+reminder"


def test_a_typed_pair_builds_an_organism_and_is_listed_once_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = typed("add-an-organism.md", tmp_path, monkeypatch)
    assert [side.gate.label for side in study.sides] == ["asks_back_semantic"]
    install(tmp_path, monkeypatch)
    card = find_pair("asks_back_semantic").card
    assert detect_text(card.trigger, "Play a song.")
    assert not any(detect_text(card.trigger, x) for x in card.near_misses)
