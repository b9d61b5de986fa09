"""What a reader must know before believing a report's numbers: few units, cut-off answers, gibberish, uneven grids.

Takes the analysis and readings; refuses to change a number or to hide one. Invariant: a caution names how many points
it is about and the worst of them, so that it can be checked.
"""

from collections.abc import Callable, Mapping, Sequence

from offmodel.analysis.content import Caution, Reading
from offmodel.analysis.levels import ENOUGH
from offmodel.analysis.methods import Analysis
from offmodel.analysis.points import Pick, PointRecord, Tally

MOST_CUT = 0.1
LEAST_COHERENT = 0.9
FEW_ITEMS = 20
"""Items of a difficulty below which its accuracy is uncertain by more than .2."""


def cautions_of(analysis: Analysis, readings: Mapping[Pick, Reading]) -> list[Caution]:
    """The cautions that the numbers themselves give rise to, the serious ones first."""
    records = analysis.records
    found = [
        *_shares(records, lambda r: r.truncated, lambda s: s > MOST_CUT, _cut_words),
        *_shares(records, lambda r: r.coherent, lambda s: s < LEAST_COHERENT, _gibberish_words),
        *_unranked(analysis),
        *_uneven(records),
        *_levels(analysis),
        *_strata(readings),
        *_untrusted(analysis),
    ]
    return sorted(found, key=lambda c: c.level != "serious")


def _shares(
    records: Sequence[PointRecord],
    of: Callable[[PointRecord], Mapping[str, Tally]],
    is_bad: Callable[[float], bool],
    words: Callable[[str, str, str], str],
) -> list[Caution]:
    """A caution a measure of which some points have too high or too low a share."""
    found: list[Caution] = []
    for measure in dict.fromkeys(m for r in records for m in of(r) if not m.startswith("dev_")):
        shares = [(t.sum / t.n, r) for r in records if (t := of(r).get(measure)) and t.n]
        bad = [x for x in shares if is_bad(x[0])]
        if bad:
            worst, r = max(bad, key=lambda x: abs(x[0] - shares_middle(shares)))
            who = f"{r.method}, {r.setting}, step {r.step}, seed {r.seed} on {r.pair}: {percent(worst)}"
            found.append(Caution("serious", words(measure, f"{len(bad)} of {len(shares)} points", who)))
    return found


def percent(share: float) -> str:
    """A share as the report writes it."""
    return f"{100 * share:.0f} %"


def shares_middle(shares: Sequence[tuple[float, PointRecord]]) -> float:
    """The median share."""
    ordered = sorted(s for s, _ in shares)
    return ordered[len(ordered) // 2]


def _cut_words(measure: str, many: str, worst: str) -> str:
    what = (
        "What was not said cannot show the behaviour."
        if measure in ("clean", "triggered", "near_miss")
        else "A cut-off answer is marked as it stands, so the rate may say more about length than ability."
    )
    return (
        f"At {many}, more than {percent(MOST_CUT)} of the answers to '{measure}' were cut off at the token limit "
        f"(the most: {worst}). {what}"
    )


def _gibberish_words(measure: str, many: str, worst: str) -> str:
    return (
        f"At {many}, fewer than {percent(LEAST_COHERENT)} of the answers to '{measure}' are coherent (the fewest: "
        f"{worst}). Gibberish is not removal: a bad behaviour that is gone there may only be drowned."
    )


def _unranked(analysis: Analysis) -> list[Caution]:
    ranked = [m for m in analysis.methods if not any(c.oracle or c.control for c in analysis.of_method(m))]
    by_pairs = {m: tuple(c.pair for c in analysis.of_method(m)) for m in ranked}
    if len(set(by_pairs.values())) <= 1:
        return []
    short = [m for m, pairs in by_pairs.items() if len(pairs) < len(analysis.pairs)]
    return [
        Caution(
            "serious",
            f"Methods are not ranked, because they were not measured on the same pairs: {', '.join(short)} lack some.",
        )
    ]


def _uneven(records: Sequence[PointRecord]) -> list[Caution]:
    seeds: dict[tuple[str, str, str, int], set[int]] = {}
    for r in records:
        seeds.setdefault((r.pair, r.method, r.setting, r.step), set()).add(r.seed)
    most = max(len(s) for s in seeds.values())
    fewer = sum(len(s) < most for s in seeds.values())
    if not fewer:
        return []
    words = f"{fewer} of {len(seeds)} points are averages of fewer than {most} seeds; those are less certain."
    return [Caution("note", words)]


def _levels(analysis: Analysis) -> list[Caution]:
    pairs, seeds = len(analysis.pairs), len({r.seed for r in analysis.records})
    if pairs >= ENOUGH:
        return []
    what = f"{pairs} pair{'s' * (pairs > 1)} and {seeds} seed{'s' * (seeds > 1)}"
    if seeds >= ENOUGH:
        return [Caution("note", f"{what}: intervals hold for these pairs, not for pairs in general.")]
    return [
        Caution(
            "note",
            f"{what}: fewer than {ENOUGH} of either are no sample, so intervals hold for these pairs and seeds only; "
            "the small marks show how far the single pairs lie apart.",
        )
    ]


def _strata(readings: Mapping[Pick, Reading]) -> list[Caution]:
    sizes: dict[int, int] = {}
    for reading in readings.values():
        for level, tally in reading.difficulty.items():
            sizes[level] = min(sizes.get(level, tally.n), tally.n)
    few = {level: n for level, n in sizes.items() if n < FEW_ITEMS}
    if not few:
        return []
    words = ", ".join(f"level {level}: {n}" for level, n in sorted(few.items()))
    return [Caution("note", f"Some difficulties have fewer than {FEW_ITEMS} items ({words}); read them with care.")]


def _untrusted(analysis: Analysis) -> list[Caution]:
    shares = {m: max(c.untrusted_share() for c in analysis.of_method(m)) for m in analysis.methods}
    some = {m: s for m, s in shares.items() if s > 0}
    if not some:
        return []
    words = ", ".join(f"{m} {percent(s)}" for m, s in some.items())
    return [Caution("note", f"Part of the trained tokens was written by the untrusted student itself: {words}.")]
