"""Few sizes, little padding, nothing lost."""

import numpy as np

from offmodel.engines.buckets import Shape, power_of_two, round_up, split_evenly


def test_sizes_are_four_an_octave_and_near():
    sizes = sorted({round_up(n) for n in range(1, 20000)})
    assert sizes[:6] == [64, 80, 96, 112, 128, 160]
    assert all(s % 16 == 0 for s in sizes)
    assert all(n <= round_up(n) <= 1.25 * n + 1 for n in range(64, 20000))
    assert [power_of_two(n) for n in (1, 2, 3, 8, 9)] == [1, 2, 4, 8, 16]


def test_a_roomy_shape_serves_its_pass_and_its_like():
    rng = np.random.default_rng(0)
    for _ in range(300):
        tokens = int(rng.integers(64, 20000))
        need = Shape(
            tokens=tokens,
            targets=int(rng.integers(1, tokens)),
            sequences=int(rng.integers(1, 1 + tokens // 8)),
            members=int(rng.integers(1, 65)),
        )
        longest = int(rng.choice([64, 192, 1024]))
        room = need.roomy(longest)
        assert room.serves(need, longest)
        assert not need.roomy(longest).serves(Shape(tokens=2 * room.tokens, targets=1, sequences=1, members=1), longest)


def test_passes_are_even_and_keep_the_order():
    rng = np.random.default_rng(1)
    for _ in range(200):
        lengths = rng.integers(1, 300, rng.integers(1, 200)).tolist()
        most = int(rng.integers(300, 5000))
        parts = split_evenly(lengths, most)
        assert [i for part in parts for i in part] == list(range(len(lengths)))
        held = [sum(lengths[i] for i in part) for part in parts]
        assert max(held) <= most
        if 2 * max(lengths) <= most:
            assert max(held) - min(held) <= 2 * max(lengths)
    assert split_evenly([900, 800, 5], 100) == [[0], [1], [2]]
    assert split_evenly([50, 40, 5, 70, 30], 100) == [[0, 1, 2], [3, 4]]
