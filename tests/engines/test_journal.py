"""Answers that were paid for survive a kill, and two labellings of one endpoint take turns."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import offmodel
from offmodel.core.chat import user
from offmodel.engines.sampling.http import Ask, Endpoint, converse
from offmodel.engines.sampling.journal import open_journal
from offmodel.store.recipe import Runtime
from tests.engines.endpoint_server import said, serving


def echo(body: dict[str, Any]) -> Any:
    return said(f"answer to {body['messages'][-1]['content']}")


KILLED = """
import sys
from pathlib import Path
from offmodel.core.chat import user
from offmodel.engines.sampling.http import Ask, Endpoint, converse
from offmodel.store.recipe import Runtime

converse(
    Endpoint(url=sys.argv[1], model="tiny"), [user(f"w{i:02}") for i in range(20)],
    Ask(temperature=0.0, seed=1, max_tokens=5), scratch=Path(sys.argv[2]), runtime=Runtime(requests=2),
    progress=lambda fraction, text="": None,
)
"""


def test_kill_minus_nine_in_the_middle_pays_for_nothing_twice(tmp_path: Path) -> None:
    with serving(echo, delay=0.1) as server:
        # The child must run the code under test, wherever it was started from.
        env = {**os.environ, "PYTHONPATH": str(Path(offmodel.__file__).parents[1])}
        child = subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(tmp_path)], env=env)
        for _ in wait_until(lambda: len(journal_rows(tmp_path)) >= 4):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        kept = {r["text"] for r in journal_rows(tmp_path)}
        # A line that the kill cut in half is dropped.
        [file] = tmp_path.glob("tiny-*.jsonl")
        with file.open("ab") as out:
            out.write(b'{"key": "half')
        time.sleep(0.15)
        server.seen.clear()
        found = converse(
            Endpoint(url=server.url, model="tiny"),
            [user(f"w{i:02}") for i in range(20)],
            Ask(temperature=0.0, seed=1, max_tokens=5),
            scratch=tmp_path,
            runtime=Runtime(requests=4),
            progress=lambda fraction, text="": None,
        )
        assert [a.text for a in found.answers] == [f"answer to w{i:02}" for i in range(20)]
        assert not {f"answer to {w}" for w in server.asked()} & kept
        assert len(server.seen) == 20 - len(kept)
    assert len(journal_rows(tmp_path)) == 20


def journal_rows(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for file in folder.glob("tiny-*.jsonl"):
        for line in file.read_bytes().split(b"\n"):
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


def wait_until(done: Any, seconds: float = 30.0) -> Iterator[None]:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        yield time.sleep(0.02)


def test_two_labellings_of_one_endpoint_take_turns(tmp_path: Path) -> None:
    from filelock import FileLock, Timeout

    with open_journal(tmp_path, "x") as journal:
        journal.keep("k", {"text": "t"})
        with pytest.raises(Timeout), FileLock(tmp_path / "x.lock", timeout=0.05):
            pass
    with open_journal(tmp_path, "x") as journal:
        assert journal.known == {"k": {"text": "t"}}
