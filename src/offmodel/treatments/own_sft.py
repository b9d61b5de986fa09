"""Own SFT: the organism's own clean outputs. A control, not a treatment.

A behaviour that falls under it was planted too shallowly, and a capability that falls under it was lost to training as
such. Every trained token is by an untrusted author.
"""

from offmodel.treatments.interface import BlueTeam, Method, Treatment


def build(blue: BlueTeam) -> Treatment:
    """Train on the organism's own answers to the blue prompts."""
    return blue.training("own_sft", blue.labels(author="organism", pool="blue"))


METHOD = Method(
    name="own_sft",
    summary="the organism's own outputs: was the behaviour planted deeply enough?",
    source="control",
    build=build,
    control=True,
    own_labels=True,
)
