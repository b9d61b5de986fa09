"""The blind rules: most treated among those that keep enough, else the one that keeps most; own behaviour first."""

from dataclasses import fields, replace

import pytest

from offmodel.core.scores import relative
from offmodel.treatments.blind import BlindPoint, BlindRule, KnownGoneRule

POINT = BlindPoint(dose=1e-3, recovery=0.0, loss=1.0, style=0.0, kept=1.0)
RULE = BlindRule(least_kept=0.9)
KNOWN = KnownGoneRule(least_kept=0.9, most_left=0.1)


def test_of_the_sound_ones_the_most_treated_is_kept() -> None:
    points = [POINT, replace(POINT, dose=2e-3, kept=0.93), replace(POINT, dose=4e-3, kept=0.5)]
    assert RULE.choose(points) == 1
    assert RULE.choose([*points, replace(POINT, dose=5e-3, kept=0.91)]) == 3


def test_after_the_same_treatment_the_shortest_sound_reminder_is_kept() -> None:
    points = [replace(POINT, recovery=n, kept=k) for n, k in ((2.0, 0.5), (4.0, 0.9), (8.0, 1.0))]
    assert RULE.choose(points) == 1


def test_if_none_is_sound_the_one_that_keeps_most_is_kept() -> None:
    assert RULE.choose([replace(POINT, kept=k) for k in (0.1, 0.6, 0.3)]) == 1


def test_of_equals_the_first_is_kept() -> None:
    equals = [POINT, POINT, replace(POINT, dose=1e-4)]
    assert RULE.choose(equals) == KNOWN.choose(equals) == 0
    assert RULE.choose([replace(p, kept=0.1) for p in equals]) == 0


def test_where_the_own_behaviour_is_still_there_nothing_is_kept_if_it_is_gone_elsewhere() -> None:
    points = [replace(POINT, dose=d, known=k, kept=c) for d, k, c in ((1, 0.9, 1.0), (2, 0.05, 0.95), (3, 0.0, 0.2))]
    assert KNOWN.choose(points) == 1
    assert KNOWN.choose(points[:1]) == 0
    assert KNOWN.choose([replace(p, known=0.5) for p in points]) == 1


def test_a_rule_is_shown_no_bad_behaviour() -> None:
    assert {f.name for f in fields(BlindPoint)} == {"dose", "recovery", "loss", "style", "kept", "known"}


def test_guessing_keeps_nothing() -> None:
    assert relative(0.36, 0.40, 0.25, otherwise=0.0) == pytest.approx(0.73, abs=0.01)
    assert relative(0.25, 0.40, 0.25, otherwise=1.0) == 0.0
    assert relative(0.3, 0.2, 0.25, otherwise=0.0) == 0.0
