"""Recipes: what to compute, as frozen dataclasses whose canonical JSON is their identity.

A recipe's fields are plain values (None, bool, int, float, str), tuples of them, frozen dataclasses of them
(settings), and other recipes or tuples of recipes (parents). Everything that changes numbers is a field; device,
worker count, micro-batch and paths are not. A field made by `unless_asked` is not written while it is None. Values are
checked against their annotations when a recipe is made, and again before it is digested. This module refuses to know
how anything is computed or where it is kept. Invariant: equal recipes have equal digests, and a value without one
canonical form raises.
"""

import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Protocol, final

from offmodel.core.errors import OffmodelError, RecipeError
from offmodel.store.fields import check_fields, parent_fields

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_LONGEST_NAME = 120  # file systems allow 255 bytes, of which the digest and temporary endings need some

_ABSENT = "absent while None"

Facts = dict[str, Any]
"""What an execution tells about itself (tokens, seconds, counts); JSON values; goes into `record.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Where and how to compute; never part of an identity.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads of one worker.
        micro_batch: sequences in one forward pass; None lets the engine choose.
        locations: (content digest, path) of local files and folders that recipes name by content.
        plugins: modules to import in each worker before it loads recipes: a name, or `name=path.py` for a file that is
            not on the Python path, such as a study's, and may import the modules beside it.
        requests: requests to a remote endpoint at once.
        request_seconds: time-out of one request.
        request_tries: times that a request is tried, with growing pauses between.
        processes: processes, each with a GPU or CPU threads of its own, that train one model together.
        recompute: in such a training, keep less of each layer and compute it again in the backward pass.
        graphs: whether the passes of LoRA trainings are captured as CUDA graphs; "auto" does so on a GPU.
    """

    device: str = "cpu"
    threads: int = 1
    micro_batch: int | None = None
    locations: tuple[tuple[str, str], ...] = ()
    plugins: tuple[str, ...] = ()
    requests: int = 8
    request_seconds: float = 120.0
    request_tries: int = 6
    processes: int = 1
    recompute: bool = False
    graphs: Literal["auto", "off", "on"] = "auto"

    def locate(self, content: str) -> Path:
        """The path of a local file or folder, by its content digest.

        Raises:
            RecipeError: nothing with this content was named in this run.
        """
        for known, path in self.locations:
            if known == content:
                return Path(path)
        raise RecipeError(
            f"No local file or folder with content digest {content[:12]} is known to this run; "
            "name its path in the study file again."
        )


@dataclass(frozen=True, slots=True)
class Payload:
    """A parent's result, as an execution receives it: a folder under a neutral name.

    Attributes:
        path: folder of the parent's files; it holds no record and its name says nothing about the parent's recipe.
        content: digest of the files, for caches of loaded models.
    """

    path: Path
    content: str


class Progress(Protocol):
    """Takes word of how far an execution is."""

    def __call__(self, fraction: float, text: str = "") -> None:
        """`fraction` in [0, 1]; `text` is a few words such as "step 12 of 40"."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that an execution receives.

    Attributes:
        params: the recipe's plain fields, as attributes. Fields that name parents are not among them.
        inputs: the parents' payloads by field name; a tuple where the field holds a tuple of recipes; None where a
            field annotated `Recipe | None` is None.
        out: an empty folder; what is written here becomes the payload.
        scratch: a folder that survives a kill, for checkpoints inside a training; removed once published.
        runtime: device, threads and such.
        progress: takes word of how far the work is.
    """

    params: SimpleNamespace
    inputs: Mapping[str, Any]
    out: Path
    scratch: Path
    runtime: Runtime
    progress: Progress


def unless_asked() -> Any:
    """A field of settings that came later: None by default, and absent from the canonical form while it is None.

    So settings that do not ask for it keep the digest that they had before there was such a field. None has this one
    form and every other value is written, so two values still never share a form.
    """
    return field(default=None, metadata={_ABSENT: True})


class _Digested:
    # One recipe can be reached by very many paths through its descendants, so its digest is kept with the object: a
    # cache keyed by equality would hash the whole tree again at every look-up.
    __slots__ = ("_digest",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(_Digested, ABC):
    """What to compute. Subclasses are frozen dataclasses with keyword-only fields, `kind` and `recipe_version`.

    `kind` is the artifact's folder in the store; `recipe_version` is bumped when the code changes what it computes;
    `on_device` is false for recipes that gain nothing from a GPU, which then leave its worker to others; `groups_on`
    names the kinds of device on which the groups of `batch_key` pay.
    A subclass with a `__post_init__` of its own calls `Recipe.__post_init__(self)` in it (not `super()`, which
    dataclasses with slots do not support before Python 3.14).
    """

    kind: ClassVar[str]
    recipe_version: ClassVar[int]
    on_device: ClassVar[bool] = True
    groups_on: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__, Recipe)

    @abstractmethod
    def name(self) -> str:
        """A readable name for folders and progress, of letters, digits, '.', '_', '+' and '-'; not an identity."""

    @classmethod
    @abstractmethod
    def execute(cls, job: Job) -> Facts:
        """Compute the payload into `job.out`. Never sees the recipe itself, nor its parents' recipes."""

    def batch_key(self) -> str | None:
        """Missing recipes of one class and equal key are handed to `execute_many` together; None: each alone."""
        return None

    @classmethod
    def execute_many(cls, jobs: list[Job]) -> Iterator[tuple[int, Facts | OffmodelError]]:
        """Compute several jobs in one go; yields (index, facts) as each is finished, so it can be published.

        An error in place of facts says that this job cannot be computed, while the others go on.
        """
        for i, job in enumerate(jobs):
            yield i, cls.execute(job)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        return digest_of(self)

    @property
    def parents(self) -> tuple["Recipe", ...]:
        """The recipes in the fields, in field order."""
        found: list[Recipe] = []
        for f in fields(self):
            value = getattr(self, f.name)
            found += [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Recipe)]
        return tuple(found)


def digest_of(recipe: Recipe) -> str:
    """SHA-256 of a recipe's canonical JSON."""
    known: str | None = getattr(recipe, "_digest", None)
    if known is None:
        known = digest_of_description(describe(recipe))
        object.__setattr__(recipe, "_digest", known)
    return known


def digest_of_description(description: dict[str, Any]) -> str:
    """The digest of the recipe that `describe` described so, for records that outlive their recipe's code."""
    return hashlib.sha256(_canonical_text(description).encode()).hexdigest()


def canonical_json(recipe: Recipe) -> str:
    """The one JSON text of a recipe: sorted keys, no spaces, parents by digest.

    Raises:
        RecipeError: a field has no canonical form; the message names the field.
    """
    return _canonical_text(describe(recipe))


def folder_name(recipe: Recipe) -> str:
    """The recipe's folder in a store, `kind/name-digest12`.

    Raises:
        RecipeError: the kind or the name has other signs than letters, digits, '.', '_', '+' and '-'.
    """
    for what, text in (("kind", recipe.kind), ("name", recipe.name())):
        if not _NAME.fullmatch(text):
            raise RecipeError(
                f"The {what} of a {type(recipe).__name__} is '{text}', which cannot be a folder; "
                "use letters, digits, '.', '_', '+' and '-', and begin with a letter or digit."
            )
    return f"{recipe.kind}/{recipe.name()[:_LONGEST_NAME]}-{recipe.digest[:12]}"


def holds_parents(recipe: Recipe) -> frozenset[str]:
    """Names of the fields that hold parents, or may hold one."""
    return parent_fields(type(recipe), Recipe)


def _canonical_text(description: dict[str, Any]) -> str:
    return json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


_CLAIMED: dict[tuple[Any, ...], type[Recipe]] = {}


def _claim(recipe: Recipe) -> None:
    """Refuse two classes whose recipes could not be told apart: same kind, version and field names."""
    own = type(recipe)
    first = _CLAIMED.setdefault((recipe.kind, recipe.recipe_version, *(f.name for f in fields(recipe))), own)
    # A file imported twice makes a class twice, under one name.
    if first.__qualname__ != own.__qualname__ and not issubclass(own, first):
        raise RecipeError(
            f"Recipes of {own.__qualname__} and {first.__qualname__} have the same kind '{recipe.kind}', version and "
            "fields, so their digests could be equal; give one of them another kind or recipe_version."
        )


def describe(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON values: kind, version and fields, with parents by digest."""
    check_fields(recipe, type(recipe).__name__, Recipe)
    _claim(recipe)
    body = _canonical_fields(recipe, type(recipe).__name__)
    return {"kind": recipe.kind, "version": recipe.recipe_version, "fields": body}


def _canonical_fields(value: Any, where: str) -> dict[str, Any]:
    found = ((f, getattr(value, f.name)) for f in fields(value))
    return {f.name: _canonical(v, f"{where}.{f.name}") for f, v in found if v is not None or _ABSENT not in f.metadata}


def _canonical(value: Any, where: str) -> Any:
    if isinstance(value, Recipe):
        return {"recipe": digest_of(value)}
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float:
        if not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0):
            raise RecipeError(f"{where} is {value}, which has no canonical form; give a finite number.")
        return {"float": value.hex()}
    if isinstance(value, tuple):
        return [_canonical(v, f"{where}[{i}]") for i, v in enumerate(value)]
    frozen = getattr(type(value), "__dataclass_params__", None)
    if is_dataclass(value) and not isinstance(value, type) and frozen is not None and frozen.frozen:
        return {"settings": type(value).__name__, "fields": _canonical_fields(value, where)}
    raise RecipeError(
        f"{where} is a {type(value).__name__}, which has no canonical form; "
        "use None, bool, int, float, str, tuples of them, frozen dataclasses or recipes."
    )
