"""The runner forms cohorts from what a study still needs, and what they leave is what lone trainings leave."""

import shutil
from typing import Any

import pytest

from offmodel.core.rows import read_rows
from offmodel.flow.agenda import Agenda
from offmodel.flow.runner import run
from offmodel.store.artifacts import Store
from offmodel.treatments.interface import Treatment


@pytest.fixture(scope="module")
def adapters(tiny: Any) -> dict[str, Treatment]:
    found = {n: t for n, t in tiny.treatments.items() if isinstance(t, Treatment) and t.sft.lora is not None}
    # What starts from the organism itself: these are ready together.
    return {n: t for n, t in found.items() if t.start is None and t.organism == tiny.board.organism}


def test_missing_treatments_train_as_one_cohort(tiny: Any, adapters: Any, tmp_path: Any, monkeypatch: Any) -> None:
    assert len(adapters) >= 5
    store = tmp_path / "store"
    shutil.copytree(tiny.store.root, store, ignore=shutil.ignore_patterns("treatment", "locks", "tmp"))
    monkeypatch.setattr(Treatment, "groups_on", ("cpu",))
    fresh = Store(store)
    run(list(adapters.values()), store=fresh, runtime=tiny.runtime, workers=0)
    times = {"seconds", "seconds_stepping", "seconds_in_cohort", "tokens_per_second", "cohort"}
    for name, treatment in adapters.items():
        alone, here = tiny.store.find(treatment), fresh.find(treatment)
        assert here.record["facts"]["cohort"] == here.record["machine"]["group_size"] == len(adapters), name
        a, b = ({k: v for k, v in x.record["facts"].items() if k not in times} for x in (alone, here))
        assert a.pop("final_loss") == pytest.approx(b.pop("final_loss"), abs=1e-3)
        assert a == b, name
        first, second = (read_rows(x.payload / "losses.jsonl") for x in (alone, here))
        assert [r["loss"] for r in first] == pytest.approx([r["loss"] for r in second], abs=1e-3)
        assert sorted(alone.record["files"]) == sorted(here.record["files"])
        for path in alone.payload.glob("*/adapter_config.json"):
            assert path.read_bytes() == (here.payload / path.relative_to(alone.payload)).read_bytes()


def test_groups_form_where_they_pay(tiny: Any, adapters: Any) -> None:
    todo = {t.digest: t for t in adapters.values()}
    assert len(Agenda(todo, {}, device="cuda").take(1)) == len(todo)
    assert len(Agenda(todo, {}, device="cpu").take(1)) == 1
