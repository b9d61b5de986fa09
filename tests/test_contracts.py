"""The import contracts bite, and what must stay light at run time does so.

import-linter reads imports without running them; the tests on `sys.modules` see what an import really loads.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS_WITHOUT_TORCH = ("core", "store", "flow", "analysis")
HEAVY = ("torch", "transformers", "peft", "inspect_ai", "math_verify", "datasets", "vllm", "ray")
HEAVIER_THAN_A_HELP_TEXT = (*HEAVY, "scipy", "matplotlib", "jinja2", "numpy")

IMPORT_ALL = """
import importlib, json, pkgutil, sys
for name in json.loads(sys.argv[1]):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(*names: str) -> set[str]:
    """The modules in memory after a new interpreter has imported these packages with all that is in them."""
    command = [sys.executable, "-c", IMPORT_ALL, json.dumps(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter's verdict on the package under `folder`/src, by the contracts of this repository."""
    command = [
        str(Path(sys.executable).parent / "lint-imports"),
        "--config",
        str(ROOT / "pyproject.toml"),
        "--no-cache",
    ]
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("layer", LAYERS_WITHOUT_TORCH)
def test_records_are_read_without_torch(layer: str) -> None:
    loaded = loaded_by(f"offmodel.{layer}")
    assert f"offmodel.{layer}" in loaded
    assert not loaded & {"torch", "transformers", "peft", "inspect_ai"}
    assert not any(name.startswith("offmodel.engines") for name in loaded)


def test_studies_and_recipes_are_defined_without_heavy_packages() -> None:
    names = ("offmodel.studies", "offmodel.organisms", "offmodel.treatments", "offmodel.pocket")
    assert not loaded_by(*names) & set(HEAVY)


def test_help_starts_light() -> None:
    loaded = loaded_by("offmodel.cli.app")
    assert "typer" in loaded
    assert not loaded & set(HEAVIER_THAN_A_HELP_TEXT)


def test_commands_load_models_only_when_they_run() -> None:
    assert not loaded_by("offmodel.cli") & set(HEAVY)


def test_treatments_load_nothing_of_the_red_team() -> None:
    red = ("offmodel.organisms", "offmodel.evals", "offmodel.core.behaviour")
    loaded = loaded_by("offmodel.treatments")
    assert not [name for name in loaded if name.startswith(red)]


CHEATS = {
    "a trigger": ({"treatments/cheat.py": "from offmodel.core.behaviour import Trigger\n"}, "red/blue wall"),
    "an organism, inside a function": (
        {"treatments/cheat.py": "def f():\n    import offmodel.organisms\n"},
        "red/blue wall",
    ),
    "a scorer, through another module": (
        {
            "core/detour.py": "from offmodel.core.behaviour import BehaviourCard\n",
            "treatments/cheat.py": "import offmodel.core.detour\n",
        },
        "red/blue wall",
    ),
    "a behaviour in an engine": ({"engines/cheat.py": "import offmodel.core.behaviour\n"}, "know no behaviour"),
    "an engine in a runner": ({"flow/cheat.py": "import offmodel.engines\n"}, "downwards only"),
    "torch in a report": ({"analysis/cheat.py": "def f():\n    import torch\n"}, "records alone"),
    "a module without a layer": ({"nowhere.py": ""}, "downwards only"),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_contracts_bite(cheat: str, tmp_path: Path) -> None:
    files, contract = CHEATS[cheat]
    source = ROOT / "src" / "offmodel"
    shutil.copytree(source, tmp_path / "src" / "offmodel", ignore=lambda _, names: [n for n in names if _not_code(n)])
    for name, text in files.items():
        (tmp_path / "src" / "offmodel" / name).write_text(text)
    verdict = lint_imports(tmp_path)
    assert verdict.returncode == 1, verdict.stdout + verdict.stderr
    broken = [line for line in verdict.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(contract in line for line in broken), verdict.stdout


def _not_code(name: str) -> bool:
    return name == "__pycache__" or ("." in name and not name.endswith(".py"))
