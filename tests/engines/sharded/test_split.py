"""Every sequence falls to one pass of one process, and all processes make the same number of passes."""

from hypothesis import given
from hypothesis import strategies as st

from offmodel.engines.batches import Limit
from offmodel.engines.sharded.split import deal, passes


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
