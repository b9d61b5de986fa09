"""The coverage study's script runs, alike every time."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def script():
    spec = importlib.util.spec_from_file_location("coverage_script", ROOT / "scripts" / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_few_studies_a_design_are_simulated_alike_every_time(tmp_path: Path):
    coverage = script()
    name = "1 pair, 1 seed, nothing works, 4 points"
    one, other = (coverage.simulate(name, coverage.CASES[name], 5) for _ in range(2))
    assert one == other
    assert [r["measure"] for r in one] == list(coverage.MEASURES)
    coverage.write(tmp_path, one, {name: coverage.CASES[name]})
    assert len((tmp_path / "coverage.csv").read_text().splitlines()) == 6
    assert json.loads((tmp_path / "coverage.json").read_text())["designs"][name]["design"]["n_capability"] == 256
