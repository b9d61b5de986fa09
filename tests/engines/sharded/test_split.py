"""Every sequence falls to one pass of one process, and all processes make the same number of passes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offmodel.core.errors import RecipeError
from offmodel.engines.batches import Limit
from offmodel.engines.room import check_room
from offmodel.engines.sharded.split import deal, passes
from offmodel.store.recipe import Runtime
from offmodel.studies.scale.machines import calibration
from tests.engines.conftest import BASE, LORA


@given(
    st.lists(st.integers(2, 200), min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(2, 400),
    st.booleans(),
)
def test_split(some: list[int], processes: int, tokens: int, padded: bool) -> None:
    lengths = some * processes
    found = passes(lengths, processes, Limit(rows=None, tokens=tokens), padded=padded)
    assert sorted(i for parts in found for part in parts for i in part) == list(range(len(lengths)))
    assert len({len(parts) for parts in found}) == 1
    assert all(part for parts in found for part in parts)
    assert {sum(map(len, parts)) for parts in found} == {len(some)}


def test_tokens_are_dealt_evenly() -> None:
    lengths = [100, 90, 80, 70, 10, 9, 8, 7]
    sums = [sum(lengths[i] for i in share) for share in deal(lengths, 2)]
    assert max(sums) - min(sums) <= 10


def test_gpus_that_could_never_hold_the_weights_are_refused_before_loading(tmp_path: Path) -> None:
    config = calibration()["shapes"]["meta-llama/Llama-3.1-8B-Instruct"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    full = replace(BASE, lora=None, batch_size=16, compute_dtype="bfloat16")
    with pytest.raises(RecipeError, match=r"8\.0 billion .* 1 GPU, which have 75 GiB; use --gpus 2 or an adapter"):
        check_room(tmp_path, full, Runtime(device="cuda"), memory=8e10)
    check_room(tmp_path, full, Runtime(device="cuda", processes=8), memory=8e10)
    check_room(tmp_path, replace(full, lora=LORA), Runtime(device="cuda"), memory=8e10)
    check_room(tmp_path, full, Runtime(device="cpu"))
