"""A recipe's identity: what changes it, what has none, and digests that must never change again."""

import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_recipes import Cohort, Number, Settings, Total, Weights

from offmodel.core.errors import RecipeError
from offmodel.store.fields import field_hints
from offmodel.store.recipe import Facts, Job, Recipe, Runtime, canonical_json, folder_name, holds_parents, unless_asked

GOLDEN = Path(__file__).parent.parent / "golden" / "digests.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain(Recipe):
    """One field of each sort."""

    kind: ClassVar[str] = "plain"
    recipe_version: ClassVar[int] = 3
    count: int = 1
    rate: float = 0.1
    flag: bool = True
    text: str | None = "a\u00e9"
    names: tuple[str, ...] = ("x", "y")
    pair: tuple[int, float] = (1, 2.0)
    mode: Literal["fast", "slow"] = "fast"
    settings: Settings | None = None
    many: tuple[Settings, ...] = ()
    base: Recipe | None = None

    def name(self) -> str:
        return "plain"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked(Plain):
    """A subclass with a check of its own."""

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if self.count < 0:
            raise RecipeError("The count is negative; give a number of 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Careless(Plain):
    """A subclass that forgets the base's check; of a kind of its own, as tests meet it before or after `Plain`."""

    kind: ClassVar[str] = "careless"

    def __post_init__(self) -> None:
        pass


def golden_recipes() -> dict[str, Recipe]:
    number = Number(seed=3, lr=5e-5)
    return {
        "number": number,
        "total": Total(parts=(number, Number(seed=4)), extra=None),
        "plain": Plain(),
        "full": Plain(settings=Settings(rate=1e-4, steps=40), many=(Settings(rate=0.0, steps=0),), base=number),
        "checked": Checked(text=None),
    }


def test_digests_are_those_of_the_first_release() -> None:
    found = {name: recipe.digest for name, recipe in golden_recipes().items()}
    assert found == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rate": 1}, "write 1.0"),
        ({"rate": True}, "write a number"),
        ({"count": True}, "write a number"),
        ({"count": 2.0}, "write 2"),
        ({"flag": 1}, "bool"),
        ({"text": 5}, "str"),
        ({"names": ["x"]}, "write a tuple"),
        ({"names": ("x", 1)}, "tuple"),
        ({"pair": (1.0, 2.0)}, "tuple"),
        ({"pair": (1, 2.0, 3)}, "tuple"),
        ({"mode": "quick"}, "Literal"),
        ({"settings": Settings(rate=1, steps=1)}, "Plain.settings.rate"),
        ({"many": (Settings(rate=0.1, steps=True),)}, r"Plain.many\[0\].steps"),
        ({"base": "model"}, "Plain.base"),
    ],
)
@pytest.mark.parametrize("cls", [Plain, Checked])
def test_value_that_does_not_fit_is_refused_when_the_recipe_is_made(
    cls: type[Plain], change: dict[str, Any], word: str
) -> None:
    with pytest.raises(RecipeError, match=word.replace("Plain", cls.__name__)):
        cls(**change)


def test_check_that_a_subclass_forgot_is_made_before_digesting() -> None:
    assert Careless(rate=1.0).digest != Careless(rate=2.0).digest
    with pytest.raises(RecipeError, match=r"write 1\.0"):
        _ = Careless(rate=1).digest


def test_own_check_of_a_subclass_runs_beside_the_base() -> None:
    with pytest.raises(RecipeError, match="negative"):
        Checked(count=-1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.0])
def test_floats_without_canonical_form_are_refused(bad: float) -> None:
    with pytest.raises(RecipeError, match="canonical form"):
        _ = Plain(rate=bad).digest


def test_annotations_that_admit_equal_values_of_two_forms_are_refused() -> None:
    hints: list[Any] = [
        int | float,
        bool | int | None,
        tuple[int, ...] | tuple[float, ...],
        Any,
        list[int],
        dict[str, int],
        tuple,
        tuple[Recipe | int, ...],
        tuple[tuple[Recipe, ...], ...],
    ]
    for hint in hints:
        cls = dataclass(frozen=True, slots=True, kw_only=True)(
            type("Odd", (Recipe,), {"__annotations__": {"odd": hint}, "__module__": __name__})
        )
        with pytest.raises(RecipeError, match=r"Odd\.odd"):
            field_hints(cls, Recipe)


def test_recipe_inside_settings_is_refused() -> None:
    @dataclass(frozen=True)
    class Nest:
        inner: Recipe

    cls = dataclass(frozen=True, slots=True, kw_only=True)(
        type("Odd", (Plain,), {"__annotations__": {"nest": Nest}, "__module__": __name__})
    )
    with pytest.raises(RecipeError, match="inside settings"):
        cls(nest=Nest(Number(seed=1)))


plain_values = st.builds(
    Plain,
    count=st.integers(-5, 5),
    rate=st.sampled_from([0.0, 0.1, 1.0, 5e-5]),
    flag=st.booleans(),
    text=st.sampled_from([None, "", "1", "none"]),
    names=st.sampled_from([(), ("x",), ("x", "y"), ("xy",)]),
    settings=st.none() | st.builds(Settings, rate=st.sampled_from([0.0, 1.0]), steps=st.integers(0, 1)),
)


@given(plain_values, plain_values)
def test_equal_recipes_and_only_they_share_a_digest(a: Plain, b: Plain) -> None:
    assert (a == b) == (a.digest == b.digest)
    assert (a == b) == (canonical_json(a) == canonical_json(b))
    assert pickle.loads(pickle.dumps(a)).digest == a.digest  # noqa: S301 -- our own bytes


def test_learning_rate_changes_the_digest_and_the_device_cannot() -> None:
    recipe = Number(seed=1, lr=1e-4)
    assert replace(recipe, lr=2e-4).digest != recipe.digest
    assert Total(parts=(recipe,)).digest != Total(parts=(replace(recipe, lr=2e-4),)).digest
    assert not {"device", "threads", "micro_batch"} & set(field_hints(Number, Recipe))
    assert Runtime(device="cuda").device not in canonical_json(recipe)


def test_version_and_kind_are_part_of_the_identity() -> None:
    newer = type("Number", (Number,), {"__slots__": (), "recipe_version": 2})
    other = type("Number", (Number,), {"__slots__": (), "kind": "other"})
    assert len({newer(seed=1).digest, other(seed=1).digest, Number(seed=1).digest}) == 3


def test_digest_of_a_deep_diamond_is_quick() -> None:
    recipe: Recipe = Number(seed=0)
    for _ in range(60):  # 2^60 paths lead to the number
        recipe = Total(parts=(recipe, recipe))
    digest = recipe.digest  # on a line of its own: pytest would print the whole tree
    assert len(digest) == 64


def test_fields_that_may_hold_parents_are_known_from_annotations() -> None:
    assert holds_parents(Total(parts=())) == {"parts", "extra"}
    assert holds_parents(Cohort(seed=1, base=Number(seed=1))) == {"base"}


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "-x", "\u00e9"])
def test_names_that_are_no_folder_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="cannot be a folder"):
        folder_name(Weights(label=name))


def test_long_names_are_cut() -> None:
    recipe = Weights(label="x" * 400)
    assert len(folder_name(recipe)) < 160
    assert folder_name(recipe).endswith(recipe.digest[:12])


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Settings with a field that came later."""

    rate: float
    extra: float | None = unless_asked()


@dataclass(frozen=True, slots=True, kw_only=True)
class WithLater(Plain):
    """A recipe that has them."""

    kind: ClassVar[str] = "later"
    later: Later


def test_a_field_that_came_later_shows_only_when_asked_for():
    plain, asked = WithLater(later=Later(rate=0.5)), WithLater(later=Later(rate=0.5, extra=0.0))
    assert json.loads(canonical_json(plain))["fields"]["later"]["fields"] == {"rate": {"float": (0.5).hex()}}
    assert len({plain.digest, asked.digest, WithLater(later=Later(rate=0.5, extra=1.0)).digest}) == 3
    assert WithLater(later=Later(rate=0.5, extra=None)).digest == plain.digest
