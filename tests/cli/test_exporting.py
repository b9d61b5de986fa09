"""Output folders: whole or not there, nothing overwritten, and what cannot be is refused at once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from offmodel.cli.exporting import export, free_folder
from offmodel.core.errors import UserError


@pytest.fixture
def _there() -> Iterator[None]:
    Path("full").mkdir()
    (Path("full") / "mine.txt").write_text("precious")
    yield
    assert (Path("full") / "mine.txt").read_text() == "precious"


@pytest.mark.usefixtures("_there")
def test_the_output_folder_is_whole_or_not_there_and_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not empty"):
        free_folder(Path("full"))

    def stopped(draft: Path) -> None:
        (draft / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(Path("new"), stopped, {})
    assert not Path("new").exists()
    export(Path("new"), lambda draft: None, {"README.md": "whole"})
    assert [f.name for f in Path("new").iterdir()] == ["README.md"]
    assert not Path(".new.part").exists()
    with pytest.raises(UserError, match="is not empty"):
        export(Path("full"), lambda draft: None, {"README.md": "x"})


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        (".", "is the one you are in"),
        ("new/..", "is the one you are in"),
        ("mounted", "is a mount point"),
        ("file/below", "since .*file is a file"),
        ("locked/new", "since .*locked may not be written to"),
        ("locked/empty", "since .*locked may not be written to"),
    ],
)
def test_an_output_folder_that_cannot_be_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, out: str, sentence: str
) -> None:
    for folder in ("new", "mounted", "locked/empty"):
        Path(folder).mkdir(parents=True)
    if out in (".", "new/.."):
        for folder in ("new", "mounted", "locked/empty", "locked"):
            Path(folder).rmdir()
    else:
        Path("file").touch()
    monkeypatch.setattr(Path, "is_mount", lambda self: self.name == "mounted")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")  # root may write anywhere
    with pytest.raises(UserError, match=sentence):
        free_folder(Path(out))


def test_an_empty_folder_behind_a_link_is_filled() -> None:
    Path("there").mkdir()
    Path("link").symlink_to("there")
    free_folder(Path("link"))
    export(Path("link"), lambda draft: None, {"README.md": "whole"})
    assert (Path("there") / "README.md").read_text() == "whole"
