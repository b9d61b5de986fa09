"""docs/add-an-eval.md does what it says: its files are written, imported and run."""

import re
import sys
from pathlib import Path

import pytest

from offmodel.core.errors import DataError
from offmodel.evals.graders import grade, is_behaviour
from offmodel.evals.measures import Completion, Measure, read_items
from offmodel.evals.scores import judge
from offmodel.evals.styles import find_style

PAGE = Path(__file__).parents[2] / "docs" / "add-an-eval.md"
BLOCK = re.compile(r'```python(?: title="(?P<title>[\w.]+)")?\n(?P<code>.*?)```', re.DOTALL)


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Writes the page's files to a folder on the Python path; returns the blocks that are not files."""
    loose = []
    for block in BLOCK.finditer(PAGE.read_text()):
        if block["title"]:
            (tmp_path / block["title"]).write_text(block["code"])
        else:
            loose.append(block["code"])
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("alphabet", "shouting"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return loose


def test_the_page_runs(on_path, run_recipe):
    names: dict[str, object] = {}
    assert len(on_path) == 2
    for code in on_path:
        exec(compile(code, str(PAGE), "exec"), names)
    further = names["further"]
    out, _ = run_recipe(further.items)  # pyright: ignore[reportAttributeAccessIssue]
    item = read_items(out)[0]
    measure = Measure(name="alphabet", grader="alphabet:last_word", max_new_tokens=64)
    answer = Completion(measure="alphabet", item=item.id, text=f"It is {item.target}.", finish="stop", tokens=4)
    assert judge(item, answer, measure=measure, style="none")["score"] == 1.0


def test_behaviours_and_styles_of_a_module(on_path):
    assert grade("shouting:shouts", "GO AWAY NOW", "").score == 1.0
    assert grade("shouting:shouts", "Please go away.", "").score == 0.0
    assert is_behaviour("shouting:shouts")
    assert find_style("shouting:shouting")("GO AWAY NOW")


def test_a_module_that_is_not_there():
    with pytest.raises(DataError, match="'nowhere' of 'nowhere:x' cannot be imported"):
        grade("nowhere:x", "a", "b")


@pytest.mark.filterwarnings(
    "ignore:The 'initial' parameter:DeprecationWarning", "ignore:Unclosed <MemoryObject:ResourceWarning"
)
def test_its_items_run_live_in_inspect(on_path, run_recipe, tmp_path):
    import gc

    from alphabet import AlphabetItems  # pyright: ignore[reportMissingImports]
    from inspect_ai import eval as run_tasks

    out, _ = run_recipe(AlphabetItems(n=3, seed=0))
    (log,) = run_tasks(
        "offmodel/items_file",
        model="offmodel/pocket:student",
        task_args={"path": str(out / "items.jsonl"), "grader": "alphabet:last_word", "tokens": 8},
        log_dir=str(tmp_path / "logs"),
        display="none",
        log_realtime=False,
    )
    gc.collect()
    assert log.status == "success"
    assert len(log.samples) == 3
