"""Same-style SFT: another trusted model that writes in the student's own style. A control.

It separates style from authorship: off-model labels whose style the student already has should cost little capability
even if their author is the weaker model.
"""

from offmodel.treatments.interface import BlueTeam, Method, Treatment


def build(blue: BlueTeam) -> Treatment:
    """Train on the answers of the "neighbour"."""
    return blue.training("same_style", blue.labels(author="neighbour", pool="blue"))


METHOD = Method(
    name="same_style",
    summary="another model's answers in the student's own style",
    source="control",
    build=build,
    control=True,
)
