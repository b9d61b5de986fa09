"""Reminder training: a few last steps on the untreated organism's own outputs.

Brings back the reasoning style, and most of the capability with it, often without the bad behaviour. The reminder's
labels are by an untrusted author: the red team's lever. Source: "How to reduce capability degradation from off-model
SFT" (LessWrong, June 2026).
"""

from offmodel.treatments.interface import BlueTeam, Method, Treatment


def remind(method: Method) -> Method:
    """The method followed by a reminder; its points are the reminder's checkpoints, after the method's last step."""

    def build(blue: BlueTeam) -> Treatment:
        first = method.build(blue)
        return Treatment(
            method=name,
            organism=blue.organism,
            labels=(blue.labels(author="organism", pool="reminder"),),
            start=first,
            start_step=first.sft.steps,
            sft=blue.reminder,
        )

    name = f"{method.name}+reminder"
    return Method(name=name, summary=f"{method.summary}; then a reminder", source=method.source, build=build)
