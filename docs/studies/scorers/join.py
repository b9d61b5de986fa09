"""From what was read to the fixture: the key of `sample.py`, a reader's lines and a second reader's, joined.

    python docs/studies/scorers/join.py KEY READ LABELLER tests/fixtures/scorers/answers.jsonl [SECOND]

READ and SECOND hold a line an answer: its id, then the behaviours that it shows ("17 insult cats", "18"). Then

    python docs/studies/scorers/join.py --table tests/fixtures/scorers/answers.jsonl

prints the table of docs/scorers.md, the agreement, and what belongs into `calibration.MARKED`.
"""

import json
import sys
from pathlib import Path

from offmodel.core.errors import DataError
from offmodel.evals.calibration import agreement, errors_markdown, errors_of, read_labelled


def read_lines(path: Path) -> dict[int, list[str]]:
    """What a reader saw, by id; an answer that was read twice by mistake is refused."""
    found: dict[int, list[str]] = {}
    for words in (line.split() for line in path.read_text(encoding="utf-8").splitlines()):
        if words and found.setdefault(int(words[0]), words[1:]) != words[1:]:
            raise DataError(f"{path} has the answer {words[0]} twice, with different labels; keep one.")
    return found


def join(key: Path, read: Path, labeller: str, out: Path, second: Path | None) -> None:
    """Write the fixture; answers that nobody read are left out and counted."""
    first, again = read_lines(read), read_lines(second) if second else {}
    rows = [json.loads(line) for line in key.read_text(encoding="utf-8").splitlines()]
    kept = [r for r in rows if r["id"] in first]
    with out.open("w", encoding="utf-8") as stream:
        for row in kept:
            whole = row | {"shows": first[row["id"]], "labeller": labeller}
            if row["id"] in again:
                whole["second"] = again[row["id"]]
            stream.write(json.dumps(whole, ensure_ascii=False) + "\n")
    read_labelled(out)
    print(f"{len(kept)} answers, {len(rows) - len(kept)} not read")


def table(fixture: Path) -> None:
    """Print what docs/scorers.md says."""
    rows = read_labelled(fixture)
    found = errors_of(rows)
    print(errors_markdown(found))
    print("agreement (share, kappa):", agreement(rows))
    print("MARKED:", sorted((e.scorer, e.stratum) for e in found if e.marked))


if __name__ == "__main__":
    if sys.argv[1] == "--table":
        table(Path(sys.argv[2]))
    else:
        key, read, labeller, out = sys.argv[1:5]
        join(Path(key), Path(read), labeller, Path(out), Path(sys.argv[5]) if len(sys.argv) > 5 else None)
