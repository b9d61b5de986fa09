"""A folder that a command hands to its user: whole or not there at all, and never over something else.

This module refuses to know what is in it. Invariant: whatever ends the process, the folder that was asked for either
does not exist (or is as empty as before), or holds every file.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from offmodel.core.errors import StoreError, UserError
from offmodel.models import HubModel, LocalModel
from offmodel.store.artifacts import Artifact, Store
from offmodel.store.publication import full_disk
from offmodel.store.recipe import Recipe


def free_folder(out: Path) -> None:
    """Refuse an output folder that holds anything, or that cannot be made.

    It comes into being by renaming a draft beside it, so the folder above it counts, and an empty one is replaced.

    Raises:
        UserError: the folder is not empty or cannot be replaced, or nothing may be written where it is to be.
    """
    place = Path(os.path.realpath(out))
    _check_can_make(out, place.parent)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError(f"The folder {out} is not empty; name a new one, so that nothing is overwritten.")
    if place.is_mount() or place == Path(os.path.realpath(".")):
        what = "a mount point" if place.is_mount() else "the one you are in"
        raise UserError(f"The folder {out} is {what}, which cannot be replaced; name a new folder in it.")


def check_writable(out: Path) -> None:
    """Refuse a folder that takes files over time, such as a report's, if it cannot be made or written to.

    Raises:
        UserError: it is a file, or nothing may be written where it is to be.
    """
    _check_can_make(out, Path(os.path.realpath(out)))


def _check_can_make(out: Path, there: Path) -> None:
    while not os.path.exists(there):  # noqa: PTH110 -- Path.exists raises where one may not look
        there = there.parent
    if not there.is_dir():
        raise UserError(f"The folder {out} cannot be made, since {there} is a file; name another one.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"The folder {out} cannot be made, since {there} may not be written to; name another one.")


def whole_of(recipe: Recipe, home: Store) -> Artifact:
    """The artifact of something that was computed to be handed over, with all of its files.

    Raises:
        StoreError: files of it are missing, since something removed them meanwhile.
    """
    artifact = home.whole(recipe)
    if artifact is None or artifact.record_only:
        raise StoreError(
            f"The files of {recipe.kind}/{recipe.name()} were removed from the store while the work went on; run again."
        )
    return artifact


def export(out: Path, fill: Callable[[Path], None], texts: Mapping[str, str]) -> None:
    """Make a folder by filling a draft beside it and renaming it.

    Args:
        out: the folder; it may exist if it is empty.
        fill: writes into the draft.
        texts: files to add, by name.
    """
    out = Path(os.path.realpath(out))
    with full_disk(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = out.parent / f".{out.name}.part"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        fill(draft)
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
        for file in sorted(f for f in draft.rglob("*") if f.is_file()):
            with file.open("rb") as written:
                os.fsync(written.fileno())
        free_folder(out)  # somebody may have written into it while the work went on
        if out.exists():
            out.rmdir()
        draft.rename(out)


def copy_files(source: Path, draft: Path) -> None:
    """Copy a folder's files, without what lies in folders below it."""
    for file in sorted(f for f in source.iterdir() if f.is_file()):
        shutil.copyfile(file, draft / file.name)


def copy_adapter(source: Path, draft: Path, *, base: str, revision: str | None) -> None:
    """Copy a PEFT folder and let it name its base, so that PEFT finds the base by itself.

    Args:
        source: the adapter; its config names no base.
        draft: where to.
        base: path of the base's folder, or its hub id.
        revision: the hub id's commit.
    """
    copy_files(source, draft)
    file = draft / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config.update(base_model_name_or_path=base, revision=revision)
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def base_of(recipe: Recipe, named: str, payload: Path) -> tuple[str, str | None]:
    """What an adapter names as its base: the hub's id, the user's own folder, or the converted model in the store.

    Args:
        recipe: the base.
        named: the model as the user typed it.
        payload: where the store has it.
    """
    if isinstance(recipe, HubModel):
        return recipe.repo, recipe.revision
    if isinstance(recipe, LocalModel) and not named.startswith("pocket:"):
        return str(Path(named).expanduser().resolve()), None
    if isinstance(recipe, LocalModel):
        from offmodel.pocket.world import model_folder

        return str(model_folder(named.removeprefix("pocket:"))), None
    return str(payload), None


def merge_into(base: Path, adapter: Path, draft: Path) -> None:
    """Write the base with the adapter merged, in float32."""
    from offmodel.engines.adapters import merge_to_folder

    draft.rmdir()
    merge_to_folder(model=base, adapter=adapter, out=draft)
