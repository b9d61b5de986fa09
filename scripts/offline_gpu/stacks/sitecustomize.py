"""Samples the main thread of every offmodel process 50 times a second: PYTHONPATH=.../stacks STACKS=FOLDER COMMAND.

Python imports this module at start. Each process writes FOLDER/stacks-PID.json every ten seconds and at its end:
seconds by stack of offmodel's functions, the innermost last, with the function that was running in them.
"""

import atexit
import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

_EVERY, _WRITTEN_EVERY, _DEEP, _KEPT = 0.02, 10.0, 14, 1500


def _watch(folder: Path, main: int) -> None:
    seconds: Counter[str] = Counter()
    path = folder / f"stacks-{os.getpid()}.json"

    def write() -> None:
        part = path.with_suffix(".part")
        found = {"argv": sys.orig_argv[-6:], "stacks": seconds.most_common(_KEPT)}
        part.write_text(json.dumps(found), encoding="utf-8")
        part.replace(path)

    atexit.register(write)
    last = written = time.monotonic()
    while True:
        time.sleep(_EVERY)
        now, frame, ours, inner = time.monotonic(), sys._current_frames().get(main), [], ""
        while frame is not None:
            code = frame.f_code
            inner = inner or f"{Path(code.co_filename).name}:{code.co_name}"
            if "/offmodel/" in code.co_filename:
                ours.append(f"{code.co_filename.rpartition('/offmodel/')[2]}:{code.co_name}")
            frame = frame.f_back
        seconds["|".join([*ours[:_DEEP][::-1], inner])] += now - last
        last = now
        if now - written > _WRITTEN_EVERY:
            write()
            written = now


if os.environ.get("STACKS") and any(w in " ".join(sys.orig_argv) for w in ("offmodel.cli.app", "spawn_main")):
    threading.Thread(
        target=_watch, args=(Path(os.environ["STACKS"]), threading.main_thread().ident), daemon=True
    ).start()
