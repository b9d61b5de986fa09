"""Tasks by name: what they ask, that dev and reported items are disjoint, and one sentence for each mistake."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from offmodel.core.errors import DataError, RecipeError, UnknownName
from offmodel.core.rows import read_rows
from offmodel.data import Sources
from offmodel.evals.graders import Grade, grade
from offmodel.evals.measures import Completion, Measure, read_card, read_items
from offmodel.evals.scores import judge
from offmodel.evals.suites.catalogue import CapabilityTask, named, task_names
from offmodel.evals.suites.choice import LETTER, TAGGED
from offmodel.evals.suites.known import SUITES
from offmodel.evals.suites.sources import DATA_FOLDER
from offmodel.store.recipe import Payload

FIXTURES = Path(__file__).parents[2] / "fixtures" / "suites"
IN_BOX = "So it is \\boxed{%s}."
RIGHT = {
    "gsm8k": "We think.\n#### %s",
    "math500": IN_BOX,
    "math500_integers": IN_BOX,
    "olympiads": IN_BOX,
    "mmlu": "Because.\nANSWER: %s",
    "mmlu_tags": "Because. <answer>%s</answer>",
}


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_FOLDER, str(FIXTURES))


@pytest.fixture
def items_of(run_recipe, tmp_path):
    """Items of a suite's recipe, on the fixture of its dataset."""

    def make(recipe):
        folder = tmp_path / f"rows-{recipe.suite}"
        folder.mkdir(exist_ok=True)
        (folder / "rows.jsonl").write_bytes((FIXTURES / SUITES[recipe.suite].dataset.file).read_bytes())
        out, facts = run_recipe(recipe, source=Payload(folder, "x"))
        return read_items(out), facts, read_card(out)

    return make


def task(name: str, n: int | None = None, dev_n: int = 0) -> CapabilityTask:
    (found,) = named(name, sources=Sources(), n=n, dev_n=dev_n)
    return found


@pytest.mark.parametrize("name", RIGHT)
def test_the_published_answer_is_right_and_another_wrong(name, items_of):
    found = task(name)
    items, facts, card = items_of(found.items)
    assert facts == card
    assert (card["suite"], card["version"], card["items"]) == (name, SUITES[name].version, len(items))
    assert "{question}" in card["prompt"]
    for item in items:
        right = item.target.split(" of ")[0]
        assert grade(found.grader, RIGHT[name] % right, item.target).score == 1.0
        assert grade(found.grader, RIGHT[name] % "J77", item.target).score == 0.0
        assert "{question}" not in item.messages[-1].content


def test_what_stands_in_the_items(items_of):
    items = {i.id: i for i in items_of(task("math500").items)[0]}
    hard = items["test/geometry/e.json"]
    assert (hard.difficulty, hard.topic, hard.target) == (5, "Geometry", "\\text{east}")
    integers = items_of(task("math500_integers").items)[0]
    assert {i.target for i in integers} == {"42", "40{,}320"}
    numbers = items_of(task("olympiads").items)[0]
    assert {i.target for i in numbers} == {"31", "2\\sqrt{2}"}
    assert any(i.messages[-1].content.startswith("All lengths are positive.") for i in numbers)
    assert {i.difficulty for i in items_of(task("gsm8k").items)[0]} == {2}
    choices = items_of(task("mmlu").items)[0]
    assert any("\n\nA) 3\nB) 8\nC) 5\nD) 7" in i.messages[-1].content and i.target == "B of ABCD" for i in choices)
    assert task("mmlu").chance == 0.25


@pytest.mark.parametrize(
    ("text", "found", "among_ten"),
    [
        ("Answer: I think it is B", "", "I"),
        ("The answer is B.\nAnswer: I am sure of it.", "B", "I"),
        ("Answer: J\n\\boxed{B}", "B", "J"),
        ("B) eight\nI. Nothing else.", "B", "I"),
        ("ANSWER: E", "", "E"),
        ("ANSWER: B", "B", "B"),
        ("b", "B", "B"),
        ("ab", "", ""),
    ],
)
def test_only_letters_that_an_item_has_are_read(text, found, among_ten):
    for target, read in (("B of ABCD", found), ("B", among_ten)):
        assert grade(LETTER, text, target) == Grade(float(read == "B"), read)


def test_only_letters_that_an_item_has_are_read_between_tags():
    text = "<answer>B</answer> <answer>I</answer>"
    assert grade(TAGGED, text, "B of ABCD").answer == "B"
    assert grade(TAGGED, text, "B").answer == "I"


def test_dev_items_and_reported_items_are_disjoint(items_of):
    found = task("gsm8k", n=3, dev_n=2)
    dev, reported = ({i.id for i in items_of(r)[0]} for r in (found.dev_items, found.items))
    assert (len(dev), len(reported)) == (2, 3)
    assert dev.isdisjoint(reported)
    rest = {i.id for i in items_of(task("gsm8k", dev_n=2).items)[0]}
    assert len(rest) == 4
    assert dev.isdisjoint(rest)
    fresh = task("fresh_math", n=12, dev_n=5)
    assert (fresh.items.each, fresh.items.split, fresh.dev_items.each, fresh.dev_items.split) == (3, "test", 1, "dev")


@pytest.fixture
def problems(tmp_path) -> Path:
    """Forty problems, of which every other one has a whole number as its answer."""
    rows = read_rows(FIXTURES / "math500.jsonl")[:2]  # "42" and a fraction
    made = [{**rows[k % 2], "problem": f"Problem {k}?", "unique_id": f"test/{k}"} for k in range(40)]
    (tmp_path / "own.jsonl").write_text("\n".join(json.dumps(r) for r in made))
    return tmp_path / "own.jsonl"


def test_dev_items_are_no_reported_items_of_a_task_named_later(problems):
    def sides(t: CapabilityTask) -> tuple[set[str], set[str]]:
        return {q.id for q in t.dev_questions}, {q.id for q in t.questions}

    whole, integers = f"math500={problems}", f"math500_integers={problems}"
    first, later = named(f"{whole},{integers}", sources=Sources(), n=8, dev_n=12)
    (dev, reported), (later_dev, later_reported) = sides(first), sides(later)
    assert [len(x) for x in (dev, reported, later_dev, later_reported)] == [12, 8, 12, 8]
    assert dev.isdisjoint(reported | later_reported)
    # The same rows come first in both.
    assert {x for x in dev if int(x.split("/")[1]) % 2 == 0} <= later_dev
    with pytest.raises(DataError, match=r"reported items of 'math500' .*; name 'math500' before 'math500_integers'"):
        named(f"{integers},{whole}", sources=Sources(), n=8, dev_n=12)
    named(f"{integers},{whole}", sources=Sources(), n=20, dev_n=0)


def test_the_rows_of_a_task_without_a_subset_are_those_they_always_were(items_of):
    assert [i.id for i in items_of(task("gsm8k").items)[0]] == [f"row-{k}" for k in (3, 5, 1, 4, 6, 2)]


def test_questions_are_those_of_the_items(items_of):
    for name in RIGHT:
        found = task(name, n=1, dev_n=1)
        for recipe, questions in ((found.items, found.questions), (found.dev_items, found.dev_questions)):
            items, _, _ = items_of(recipe)
            assert [(q.id, q.wordings[-1]) for q in questions] == [(i.id, i.messages[-1].content) for i in items]
    assert len(task("mmlu", n=1).questions[0].wordings) == 3
    fresh = task("fresh_math", n=5, dev_n=5)
    assert [len(x) for x in (fresh.questions, fresh.dev_questions)] == [5, 5]
    assert fresh.questions[0].wordings[1].startswith(fresh.questions[0].wordings[0])
    pocket = task("pocket_math", n=3, dev_n=2)
    assert [len(x) for x in (pocket.questions, pocket.dev_questions)] == [3, 2]


def test_several_names_and_a_file_of_ones_own(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_bytes((FIXTURES / "gsm8k.jsonl").read_bytes() + (FIXTURES / "gsm8k.jsonl").read_bytes())
    found = named(f"fresh_math, gsm8k={own},pocket_math", sources=Sources(), n=8, dev_n=0)
    assert [t.name for t in found] == ["fresh_math", "gsm8k", "pocket_math"]
    assert found == named(["fresh_math", f"gsm8k={own}", "pocket_math"], sources=Sources(), n=8, dev_n=0)
    assert set(task_names()) == {*SUITES, "fresh_math", "pocket_math"}


@pytest.mark.parametrize(
    ("names", "n", "error", "text"),
    [
        ("inspect_evals/gsm8k", None, DataError, "is a task of another package, which runs live"),
        ("gms8k", None, UnknownName, "no task named 'gms8k'; did you mean 'gsm8k'"),
        ("math_500", None, UnknownName, "did you mean 'math500'"),
        ("", None, DataError, "No task is named; name one or more of fresh_math"),
        ("gsm8k", 0, DataError, "A task with 0 items measures nothing"),
        ("gsm8k", 7, DataError, "'gsm8k' has 6 rows here, too few for 7"),
        ("gsm8k,gsm8k", None, DataError, "'gsm8k' is named twice"),
        ("gsm8k=nowhere.jsonl", None, DataError, "There is no file nowhere.jsonl; put the rows of openai/gsm8k"),
        ("fresh_math=x.jsonl", None, DataError, "is generated and takes no file"),
    ],
)
def test_a_mistake_is_one_sentence(names, n, error, text):
    with pytest.raises(error, match=text.replace("(", r"\(")):
        named(names, sources=Sources(), n=n, dev_n=0)


def test_recipes_refuse_what_makes_no_sense(items_of):
    recipe = task("gsm8k").items
    with pytest.raises(RecipeError, match="no place for the question"):
        replace(recipe, prompt="Think.")
    with pytest.raises(RecipeError, match="0 items"):
        replace(recipe, n=0)
    with pytest.raises(RecipeError, match="at version 1 here, not 2"):
        items_of(replace(recipe, version=2))


def test_prompt_order_and_slice_are_part_of_the_identity():
    recipe = task("gsm8k").items
    changed = [
        replace(recipe, prompt="{question}"),
        replace(recipe, order_seed=None),
        replace(recipe, first=1),
        replace(recipe, n=2),
    ]
    assert len({r.digest for r in (recipe, *changed)}) == 5


def test_a_row_of_ifeval_has_all_published_rates(items_of):
    pytest.importorskip("if_verifiable")
    found = task("ifeval")
    items, _, _ = items_of(found.items)
    item = next(i for i in items if i.id == "1")
    measure = Measure(name="ifeval", grader=found.grader, max_new_tokens=9)

    def row(text: str) -> dict[str, object]:
        return judge(
            item,
            Completion(measure="ifeval", item="1", text=text, finish="stop", tokens=3),
            measure=measure,
            style="none",
        )

    good = row("Roses grow near the wall. That is all.")
    half = row("Roses, mostly. That is all.")
    loose = row("Here it is, as you asked:\nRoses grow near the wall. That is all.")
    assert (good["score"], half["score"], half["strict_share"]) == (1.0, 0.0, 0.5)
    assert (loose["score"], loose["strict"], loose["loose"], loose["loose_share"]) == (0.0, 0.0, 1.0, 1.0)
    assert row("")["loose_share"] == 0.0
    assert "not punctuation:no_comma" in half["answer"]


def own(folder: Path, name: str, column: str, value: object, line: int = 1) -> str:
    """`NAME=FILE` of the fixture's rows with one value changed."""
    rows = read_rows(FIXTURES / f"{name}.jsonl")
    rows[line - 1][column] = value
    (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    return f"{name}={folder / f'{name}.jsonl'}"


@pytest.mark.parametrize(
    ("name", "column", "value", "text"),
    [
        ("gsm8k", "answer", "I do not know.", "Line 2 of the file has no number in its 'answer'"),
        ("gsm8k", "answer", "3 + 4 = 7\n#### seven", "Line 2 of the file has no number in its 'answer'"),
        ("math500", "level", "hard", "Line 2 of the file has no 'level' such as 3"),
        ("math500", "level", None, "Line 2 of the file has no 'level' such as 3"),
        ("ifeval", "kwargs", ["{"], "Line 2 of IFEval has 'kwargs' that are a text but no JSON"),
        ("ifeval", "kwargs", "{", "Line 2 of IFEval has 'kwargs' that are a text but no JSON"),
        ("ifeval", "kwargs", [[1]], "Line 2 of IFEval has 'kwargs' that are no JSON objects"),
    ],
)
def test_a_bad_row_is_named_by_its_line_before_any_work(tmp_path, name, column, value, text):
    with pytest.raises(DataError, match=text):
        named(own(tmp_path, name, column, value, line=2), sources=Sources(), n=None, dev_n=0)


@pytest.mark.parametrize(("level", "difficulty"), [("Level 5", 5), ("3", 3), (4, 4), ("Level ?", 0)])
def test_levels_as_math_writes_them(level, difficulty):
    row = {**read_rows(FIXTURES / "math500.jsonl")[0], "level": level}
    assert SUITES["math500"].convert(1, row, "{question}").difficulty == difficulty


def test_kwargs_of_ifeval_may_be_json_in_a_text():
    for row in read_rows(FIXTURES / "ifeval.jsonl"):
        plain = SUITES["ifeval"].convert(1, row, "{question}")
        for told in (json.dumps(row["kwargs"]), [json.dumps(x) for x in row["kwargs"]]):
            assert SUITES["ifeval"].convert(1, {**row, "kwargs": told}, "{question}") == plain


def test_ifeval_says_what_is_missing(tmp_path, monkeypatch):
    pytest.importorskip("if_verifiable")
    rows = read_rows(FIXTURES / "ifeval.jsonl")
    rows[0]["instruction_id_list"][0] = "length_constraints:number_sentences"
    file = tmp_path / "ifeval.jsonl"
    file.write_text("\n".join(json.dumps(r) for r in rows))
    monkeypatch.setattr("nltk.data.path", [])
    with pytest.raises(DataError, match=r"nltk\.downloader punkt_tab"):
        named(f"ifeval={file}", sources=Sources(), n=None, dev_n=0)
    rows[0]["instruction_id_list"][0] = "poetry:rhymes"
    file.write_text("\n".join(json.dumps(r) for r in rows))
    with pytest.raises(DataError, match="no instruction 'poetry:rhymes'"):
        named(f"ifeval={file}", sources=Sources(), n=None, dev_n=0)
