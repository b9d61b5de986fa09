"""The page on agreement of graders, from committed verdicts: tables, and each disagreement with its reason.

    PYTHONPATH=src python benchmarks/grading_report.py docs/studies/grading

reads `outputs.jsonl`, `cases.jsonl`, `verdicts.jsonl` (of `grading_agreement.py`) and `reasons.json` (what a reader
wrote about answers that no rule explains), and writes the part of `index.md` below the mark, and
`disagreements.md`. Needs no harness. Invariant: a disagreement without a reason stops it.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from offmodel.core.rows import read_rows

FILES = ("outputs.jsonl", "cases.jsonl")
MARK = "<!-- written by benchmarks/grading_report.py -->"
STRICT, FLEXIBLE, MATCH = "lm-eval gsm8k strict-match", "lm-eval gsm8k flexible-extract", "Inspect match(numeric)"
BY_HAND = "hand-written"
Row = dict[str, Any]


def reason(row: Row, reference: str, by_hand: dict[str, str]) -> str:
    """Why a reference says otherwise; what a reader wrote comes first.

    Raises:
        SystemExit: nobody has said it yet.
    """
    key = f"{row['id']} / {reference}"
    for known in (key, row["id"]):
        if known in by_hand:
            return by_hand[known]
    found = _integer_reason(row["text"], reference) if row["grader"] == "integer" else None
    if found is None:
        sys.exit(f"No reason is known for {key}: target {row['target']!r}, answer {row['text'][-200:]!r}")
    return found


def _integer_reason(text: str, reference: str) -> str | None:
    if "<think>" in text:
        return "the reference reads thinking text"
    if reference == STRICT:
        found = re.search(r"#### (-?[0-9.,]+)", text)
        return "several '####': it takes the first" if found else "no '#### number': it reads nothing else"
    if "\\boxed{" in text:
        return "a box: the reference reads none, and takes another number or finds none"
    line = text.rpartition("####")[2] if "####" in text else ""
    if re.search(r"\d.*\d", line, re.DOTALL):
        return "a remark with a number after the '####' line: the reference takes the last number"
    last = re.split(r"\s+", text.strip())[-1]
    if reference == MATCH and re.search(r"\d", last) and not re.fullmatch(r"[$]?-?[\d,.]+", last):
        return (
            "a sign or unit stuck to the last number (as in '18kg', '15%', '\\(18\\)'): the reference reads no number"
        )
    if reference == MATCH and not re.search(r"\d\W*$", text.strip()):
        return "words after the number: the reference looks at numbers that stand alone"
    if reference == FLEXIBLE and re.search(r"\d[.,]\s*$|\$", text):
        return "a full stop or sign within the reference's match, which is compared as text"
    return None


def tables(rows: list[Row], verdicts: dict[str, dict[str, float]]) -> list[str]:
    """Agreement on models' answers, and who errs on the hand-written cases."""
    cells: defaultdict[tuple[str, str, str], list[tuple[Row, float, float]]] = defaultdict(list)
    for row in rows:
        found = verdicts[row["id"]]
        for name in (n for n in found if n != "ours"):
            cells[row["source"], row["grader"], name].append((row, found["ours"], found[name]))
    lines = ["| answers | our grader | reference | n | equal | ours alone right | it alone right |", "|" + "---|" * 7]
    for (source, grader, name), found in cells.items():
        if source != BY_HAND:
            equal, more = sum(a == b for _, a, b in found), sum(a > b for _, a, b in found)
            share = f"{equal} ({100 * equal / len(found):.1f} %)"
            lines.append(
                f"| {source} | `{grader}` | {name} | {len(found)} | {share} | {more} | {len(found) - equal - more} |"
            )
    lines += ["", "| hand-written cases of | reference | n | equal | ours errs | it errs |", "|" + "---|" * 6]
    for (source, grader, name), found in cells.items():
        if source == BY_HAND:
            equal = sum(a == b for _, a, b in found)
            us, it = (sum(x[k] != x[0]["right"] for x in found) for k in (1, 2))
            lines.append(f"| `{grader}` | {name} | {len(found)} | {equal} | {us} | {it} |")
    return lines


def disagreements(rows: list[Row], verdicts: dict[str, dict[str, float]], by_hand: dict[str, str]) -> list[Row]:
    """Every verdict that differs from ours, with its reason."""
    return [
        {"row": row, "reference": name, "ours": found["ours"], "theirs": value, "why": reason(row, name, by_hand)}
        for row in rows
        for found in (verdicts[row["id"]],)
        for name, value in found.items()
        if value != found["ours"]
    ]


def _line(found: Row) -> str:
    row = found["row"]
    end = re.sub(r"\s+", " ", row["text"])[-90:].replace("|", "\\|").replace("`", "'")
    target = row["target"][:40].replace("|", "\\|")
    verdict = f"{found['ours']:.0f} / {found['theirs']:.0f}"
    return f"| {row['id']} | {found['reference']} | {verdict} | `{target}` | `{end}` | {found['why']} |"


def main(folder: Path) -> None:
    """Write the page's tables and the list of disagreements."""
    rows = [row for name in FILES if (folder / name).is_file() for row in read_rows(folder / name)]
    verdicts = {v.pop("id"): v for v in read_rows(folder / "verdicts.jsonl")}
    apart = disagreements(rows, verdicts, json.loads((folder / "reasons.json").read_text(encoding="utf-8")))
    counts = Counter((f["reference"], f["why"]) for f in apart if f["row"]["source"] != BY_HAND)
    grouped = ["| reference | reason | answers |", "|---|---|---|"]
    grouped += [
        f"| {name} | {why} | {n} |" for (name, why), n in sorted(counts.items(), key=lambda x: (x[0][0], -x[1]))
    ]
    page = folder / "index.md"
    head = page.read_text(encoding="utf-8").split(MARK)[0]
    text = "\n".join([*tables(rows, verdicts), "", "Why they differ on models' answers:", "", *grouped, ""])
    page.write_text(f"{head}{MARK}\n\n{text}", encoding="utf-8")
    lines = ["# Every disagreement of graders", "", "Verdicts are ours / the reference's.", ""]
    lines += [
        "| answer | reference | verdicts | target | end of the answer | why |",
        "|" + "---|" * 6,
        *map(_line, apart),
    ]
    (folder / "disagreements.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
