"""A study file imports the modules beside it, in the main process and in workers."""

import subprocess
import sys
from pathlib import Path

import pytest

from offmodel.studies.catalogue import StudyError, load_study

TINY = Path(__file__).parent / "tiny_study.py"


def test_a_study_file_sees_its_own_folder_last_and_no_other_studys(tmp_path: Path) -> None:
    for folder, number in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "beside.py").write_text(f"NUMBER = {number}\n")
        (tmp_path / folder / "mine.py").write_text("import beside\n\ndef study(sources):\n    return 1 / 0\n")
        (tmp_path / folder / "colorsys.py").write_text("raise RuntimeError('hides a package')\n")
    path = list(sys.path)
    for folder, number in (("a", 1), ("b", 2), ("a", 1)):
        with pytest.raises(StudyError, match="ZeroDivisionError"):
            load_study(str(tmp_path / folder / "mine.py"))
        assert number == sys.modules["beside"].NUMBER
        assert [p for p in sys.path if p not in path] == [str(tmp_path / folder)]
    assert hasattr(__import__("colorsys"), "rgb_to_hsv")


def test_a_recipe_beside_a_study_file_reaches_a_worker(tmp_path: Path) -> None:
    tiny = TINY.read_text().replace("PAIR = ", "class Mine(PocketPrompts):\n    __slots__ = ()\n\n\nPAIR = ", 1)
    (tmp_path / "tiny_beside.py").write_text(tiny.replace("prompts=PocketPrompts(", "prompts=Mine("))
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n\nimport tiny_beside\n\n\n"
        "def study(sources):\n    return replace(tiny_beside.study(sources), cells=())\n"
    )
    # In a process of its own: two classes of one kind may not meet in one, and other tests have the library's.
    words = ("run", "mine.py", "--store", "s", "--out", "r", "--workers", "1", "--device", "cpu")
    program = "from offmodel.cli.app import main; main()"
    said = subprocess.run([sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "r" / "tiny" / "gates.md").exists()
