"""What a measurement is: a value with its n, its interval and what the interval covers.

Invariant: there is no score without n and interval; a bare float cannot be made into one.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from offmodel.core.errors import DataError

ITEMS_ONLY = "items only, these pairs and seeds"
"""What an interval covers that knows of items alone."""
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A measured value.

    Attributes:
        value: the estimate, a share in [0, 1] unless the name says otherwise.
        n: number of items behind it.
        low: lower end of the interval.
        high: upper end of the interval.
        covers: what the interval accounts for, for example "items only, these pairs and seeds".
        level: confidence level of the interval.
    """

    value: float
    n: int
    low: float
    high: float
    covers: str
    level: float = 0.95

    def to_row(self) -> dict[str, Any]:
        """The score as a JSON row."""
        return {f: getattr(self, f) for f in ("value", "n", "low", "high", "covers", "level")}

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def quantile(level: float) -> float:
    """The normal quantile of a two-sided interval, 1.96 for .95."""
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson_ends(rate: Any, n: Any, level: float = LEVEL) -> tuple[Any, Any]:
    """Ends of Wilson's interval for a proportion, the one place of its formula (Wilson 1927).

    Args:
        rate: a share, or an array of them. Arithmetic only, so that core needs no numpy.
        n: answers behind it; may be fractional, an effective number.
        level: confidence level.
    """
    z = quantile(level)
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    return middle - half, middle + half


def proportion(successes: float, n: int, level: float = LEVEL, *, covers: str = ITEMS_ONLY) -> Score:
    """A share with its Wilson interval; it keeps a width at 0 of n and at n of n.

    Raises:
        DataError: n is zero.
    """
    if n <= 0:
        raise DataError("A share of zero answers cannot be given; evaluate at least one item.")
    low, high = wilson_ends(successes / n, n, level)
    low, high = (0.0 if successes <= 0 else low), (1.0 if successes >= n else high)  # exact, without rounding
    return Score(value=successes / n, n=n, low=low, high=high, covers=covers, level=level)


def relative(accuracy: float, reference: float, chance: float, *, otherwise: float) -> float:
    """Accuracy above chance over a reference's; `otherwise` where the reference has none."""
    return (accuracy - chance) / (reference - chance) if reference > chance else otherwise
