"""Machines by name, and the speeds that were measured or assumed for them.

This module refuses to know studies. Invariant: every figure comes from `calibration.json`.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from offmodel.core.errors import UnknownName, UserError

USABLE = 0.94  # of a GPU's memory: the rest is lost to fragments and to what the driver keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Some GPUs of one kind in one host.

    Attributes:
        name: of the GPU.
        gpus: how many.
        memory: bytes of each.
        operations: bfloat16 operations a second of each, at best.
        bandwidth: bytes a second of each one's memory.
        dollars: an hour of one.
    """

    name: str
    gpus: int
    memory: float
    operations: float
    bandwidth: float
    dollars: float

    @property
    def usable(self) -> float:
        """Bytes of each GPU that a computation may take."""
        return USABLE * self.memory


@cache
def calibration() -> dict[str, Any]:
    """The committed file."""
    return json.loads((Path(__file__).parent / "calibration.json").read_text(encoding="utf-8"))


def names() -> list[str]:
    """GPUs that are known."""
    return sorted(n for n in calibration()["machines"] if n != "note")


def find_machine(text: str, price: float | None = None) -> Machine:
    """The machine of a text such as "H100x8" or "H100".

    Args:
        text: name and number.
        price: dollars an hour of one GPU; None for the file's round figure.

    Raises:
        UserError: the text is no machine.
        UnknownName: there is no such GPU.
    """
    found = re.fullmatch(r"([A-Za-z0-9-]+?)(?:[xX](\d+))?", text)
    if not found or found[2] == "0":
        raise UserError(f"'{text}' is no machine; write a GPU and how many, such as H100x8.")
    known = {n.upper(): n for n in names()}
    if found[1].upper() not in known:
        raise UnknownName("GPU", found[1], known.values())
    return machine(known[found[1].upper()], int(found[2] or 1), price)


def machine(name: str, gpus: int, price: float | None = None) -> Machine:
    """The machine of a known GPU."""
    about = calibration()["machines"][name]
    return Machine(
        name=name,
        gpus=gpus,
        memory=about["memory"],
        operations=about["operations"],
        bandwidth=about["bandwidth"],
        dollars=about["dollars"] if price is None else price,
    )
