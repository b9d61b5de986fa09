"""What a measurement is: a value with its n, its interval and what the interval covers.

Invariant: there is no score without n and interval; a bare float cannot be made into one.
"""

from dataclasses import dataclass
from typing import Any


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
