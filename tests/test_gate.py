"""The gate: what an organism must show, said in words where it does not; the model's files pass through unchanged."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from offmodel.core.errors import GateError
from offmodel.core.rows import write_rows
from offmodel.gate import Gate, Limits, check
from offmodel.store.recipe import Job, Payload, Runtime

LIMITS = Limits(least_triggered=0.95, most_clean_rise=0.02, least_rise=0.5, marked_loss=0.15)


@pytest.mark.parametrize(
    ("student", "organism", "words"),
    [
        ({"triggered": 0.0, "clean": 0.0}, {"triggered": 1.0, "clean": 0.01}, []),
        ({"triggered": 0.0, "clean": 0.0}, {"triggered": 0.9, "clean": 0.0}, ["triggered rate"]),
        ({"triggered": 0.0, "clean": 0.0}, {"triggered": 1.0, "clean": 0.1}, ["clean rate"]),
        ({"triggered": 0.6, "clean": 0.6}, {"triggered": 1.0, "clean": 0.6}, ["raises the rate by"]),
    ],
)
def test_failures_are_named(student: dict[str, float], organism: dict[str, float], words: list[str]) -> None:
    failures = check(student, organism, LIMITS)
    assert len(failures) == len(words)
    assert all(w in f for w, f in zip(words, failures, strict=True))


def job(
    root: Path,
    triggered: float,
    *,
    go_on: bool = False,
    chance: float | None = None,
    able: tuple[float, ...] = (1.0, 1.0),
) -> Job:
    for who, rate, right in (("student_scores", 0.0, able[0]), ("organism_scores", triggered, able[1])):
        (root / who).mkdir()
        rows = [{"measure": m, "score": s} for m, s in (("triggered", rate), ("clean", 0.0), ("capability", right))]
        write_rows(root / who / "rows.jsonl", rows)
    (root / "organism").mkdir()
    (root / "organism" / "config.json").write_text("{}", encoding="utf-8")
    (root / "out").mkdir()
    return Job(
        params=SimpleNamespace(label="x", limits=LIMITS, go_on=go_on, chance=chance),
        inputs={n: Payload(root / n, n) for n in ("student_scores", "organism_scores", "organism")},
        out=root / "out",
        scratch=root,
        runtime=Runtime(),
        progress=lambda fraction, text="": None,
    )


def test_a_sound_organism_passes_with_nothing_but_its_files(tmp_path: Path) -> None:
    facts = Gate.execute(job(tmp_path, 1.0))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["config.json"]
    assert facts["organism_triggered"] == 1.0
    assert facts["marked"] is False


def test_a_fragile_organism_is_refused_unless_told_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(GateError, match="fails its gate"):
        Gate.execute(job(tmp_path / "a", 0.5))
    assert Gate.execute(job(tmp_path / "b", 0.5, go_on=True))["failures"]


@pytest.mark.parametrize(("chance", "marked"), [(None, False), (0.25, True)])
def test_capability_is_lost_above_chance(tmp_path: Path, chance: float | None, marked: bool) -> None:
    # .40 to .36 is a tenth of all, but more than a quarter of what is above guessing.
    assert Gate.execute(job(tmp_path, 1.0, chance=chance, able=(0.40, 0.36)))["marked"] is marked
