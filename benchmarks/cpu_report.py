"""How long `offmodel report` takes on a study of 500 points, and that it loads no torch. Writes what it measured.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/cpu_report.py

The store is invented (tests/studies/synthetic_store.py): 5 pairs, 5 methods, 4 seeds, 5 checkpoints, 500 answers a
point of about 700 characters, 220 MB of score rows. Making it takes longer than the report and is not timed. The
report runs in a process of its own, as a user's does: importing, building the study, reading, computing, drawing and
writing count.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests" / "studies"
RESULT = HERE / "results" / "cpu_report.json"
SIZE = "Size(pairs=PAIRS, seeds=(1, 2, 3, 4), checkpoints=(5, 10, 15, 20, 40), items=100, characters=700)"
STUDY = f"""import sys
sys.path.insert(0, {str(TESTS)!r})
from synthetic_store import PAIRS, Size, build
def study(sources):
    return build({SIZE})
"""
REPORT = """import json, sys, time
began = time.perf_counter()
from offmodel.cli.app import main
try:
    main(["report", sys.argv[1], "--store", sys.argv[2], "--out", sys.argv[3]])
except SystemExit as end:
    assert not end.code
heavy = sorted({"torch", "transformers", "peft", "inspect_ai"} & set(sys.modules))
print(json.dumps({"seconds": round(time.perf_counter() - began, 1), "heavy": heavy}), file=sys.stderr)
"""


def main() -> None:
    """Make the store, report it, write the result."""
    sys.path.insert(0, str(TESTS))
    import synthetic_store as made
    from synthetic_store import PAIRS, Size  # noqa: F401 -- named by SIZE

    size = eval(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "study.py").write_text(STUDY)
        store, study = made.synthetic(root / "store", size)
        began, load = time.perf_counter(), os.getloadavg()[0]
        command = [sys.executable, "-c", REPORT, str(root / "study.py"), str(store.root), str(root / "out")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        wall = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = json.loads(done.stderr.splitlines()[-1])
        page = root / "out" / study.name / "report.html"
        result = {
            "points": len(study.cells),
            "rows_mb": round(sum(p.stat().st_size for p in store.root.glob("scores/*/payload/rows.jsonl")) / 1e6),
            "wall_seconds": round(wall, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_memory_mb": round(used.ru_maxrss / 1024),
            "page_mb": round(page.stat().st_size / 1e6, 2),
            "heavy_modules_loaded": told["heavy"],
            "load_of_machine_before": round(load, 1),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
