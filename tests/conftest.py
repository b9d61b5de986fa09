"""What holds for every test: the CPU, one thread, no hub, and the same hypothesis examples each time.

The environment is set before torch or a Hugging Face library is imported, since they read it at import. Invariant: no
test reaches the network or writes outside its temporary folder.
"""

import os

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hides GPUs, because on the CPU the same recipe gives the same bits. Set it beforehand to test on a GPU on purpose.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

settings.register_profile("offmodel", deadline=None, derandomize=True, database=None)
settings.load_profile("offmodel")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in its own folder, so that relative paths (stores, Inspect logs) stay there."""
    monkeypatch.chdir(str(tmp_path))
