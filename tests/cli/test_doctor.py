"""`offmodel doctor` tells what is missing, and how to mend it, without touching anything."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from offmodel.cli import doctor as module
from offmodel.cli.doctor import Finding, doctor, examine


def test_every_line_that_is_not_ok_has_a_mend(tmp_path: Path) -> None:
    found = list(examine(tmp_path / "store"))
    assert {"Python", "CPU", "store", "pocket models", "model hub", "torch", "vllm", "GPU"} <= {f.what for f in found}
    assert not [f for f in found if (f.state == "ok") == bool(f.mend)]


def test_offline_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.urllib.request, "urlopen", lambda *_, **__: pytest.fail("the hub was asked"))
    assert "HF_HUB_OFFLINE" in module._hub().text


def test_store_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert module._writable(tmp_path / "deep" / "store").state == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    finding = module._writable(tmp_path / "file")
    assert finding.state == "broken"
    assert finding.mend


@pytest.mark.parametrize(("installed", "state"), [("0.24.0", "ok"), ("0.23.1", "absent"), (None, "absent")])
def test_only_the_supported_vllm_is_used(installed: str | None, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if installed is None:
            raise module.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(module, "version", version)
    finding = module._vllm()
    assert finding.state == state
    assert bool(finding.mend) == (state != "ok")


def test_brackets_in_what_was_found_are_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    odd = Finding(what="vllm", state="absent", text="[0]", mend="pip install 'offmodel[vllm]'")
    monkeypatch.setattr(module, "examine", lambda store: iter([odd]))
    console = Console(file=io.StringIO(), width=200)
    doctor(console, tmp_path)
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "[0]" in printed
    assert "'offmodel[vllm]'" in printed
