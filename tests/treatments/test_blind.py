"""The blind rule: most treated among those that keep enough; else the one that keeps most."""

from dataclasses import replace

from offmodel.treatments.blind import BlindPoint, BlindRule

POINT = BlindPoint(learning_rate=1e-4, off_model_steps=10, reminder_steps=0, loss=1.0, style=0.0, kept=1.0)
RULE = BlindRule(least_kept=0.9)


def test_of_the_sound_ones_the_most_treated_is_kept() -> None:
    points = [POINT, replace(POINT, off_model_steps=20, kept=0.93), replace(POINT, off_model_steps=40, kept=0.5)]
    assert RULE.choose(points) == 1
    assert RULE.choose([*points, replace(POINT, learning_rate=1e-3, off_model_steps=5, kept=0.91)]) == 3


def test_after_the_same_treatment_the_shortest_sound_reminder_is_kept() -> None:
    points = [replace(POINT, reminder_steps=n, kept=k) for n, k in ((2, 0.5), (4, 0.9), (8, 1.0))]
    assert RULE.choose(points) == 1


def test_if_none_is_sound_the_one_that_keeps_most_is_kept() -> None:
    assert RULE.choose([replace(POINT, kept=k) for k in (0.1, 0.6, 0.3)]) == 1
