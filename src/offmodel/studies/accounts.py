"""Accounts: the tables of a report that are not about points: gate, audit, further measures, costs, software.

Reads records of the store; refuses to judge them. Invariant: what is not there yet is left out, not guessed.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from offmodel.analysis.content import Caution, PlainTable
from offmodel.analysis.points import ItemScores, PairBaseline, Tally
from offmodel.analysis.table import short, with_interval
from offmodel.core.scores import proportion
from offmodel.flow.graph import closure
from offmodel.flow.progress import duration
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe
from offmodel.store.records import software
from offmodel.studies.results import Results
from offmodel.studies.study import Arm, Study

_GATE = tuple((who, measure) for measure in ("triggered", "clean", "capability") for who in ("organism", "student"))
# Facts that count what a computation read or wrote; the first that is there counts.
_TOKENS = ("tokens_processed", "tokens", "completion_tokens", "trained_tokens")
_COMPUTING = ("offmodel", "torch", "transformers", "peft", "vllm", "inspect-ai", "math-verify")


def gate_table(results: Results) -> PlainTable:
    """The organisms before any treatment."""
    measured = {b.pair: b for b in results.baselines}
    rows = [
        [
            pair,
            *(_gate_rate(facts, measured.get(pair), who, measure) for who, measure in _GATE),
            "; ".join(facts.get("failures", [])) or ("loses capability" if facts.get("marked") else "passed"),
        ]
        for pair, facts in results.gates.items()
        if facts
    ]
    columns = ("pair", "triggered", "student's", "clean", "student's", "capability", "student's", "gate")
    note = (
        "The organisms before any treatment: rates of the behaviour with and without the trigger, and capability, each "
        "beside the unplanted student's, with 95 % intervals over items."
    )
    return PlainTable(title="Gate", columns=columns, rows=rows, note=note)


def _gate_rate(facts: Mapping[str, Any], baseline: PairBaseline | None, who: str, measure: str) -> str:
    """A rate with its interval; bare, as the gate's record has it, while the rows behind it are not here."""
    scores: ItemScores = getattr(getattr(baseline, who), measure) if baseline else {}
    if scores:
        return with_interval(proportion(sum(scores.values()), len(scores)))
    return short(facts[f"{who}_{measure}"]) if f"{who}_{measure}" in facts else ""


def audit_table(results: Results) -> PlainTable:
    """What was searched for triggers before anything was trained on it."""
    rows = [
        [
            str(a["pair"]),
            str(a["audit"]),
            str(a.get("labels", "")),
            ", ".join(a.get("searched", [])),
            f"{a.get('behaviour_in_labels', 0):g}",
            str(a.get("dropped_topic_answers", 0)),
        ]
        for a in results.audits
    ]
    columns = ("pair", "labels by", "labels", "searched", "show the behaviour", "left out for the topic")
    note = "No label that was trained on holds the trigger; how many show the behaviour itself is counted."
    return PlainTable(title="Audit", columns=columns, rows=rows, note=note)


def further_table(study: Study, further: Mapping[str, Mapping[str, Tally]]) -> list[PlainTable]:
    """Capability measures besides the headline, if there are any."""
    arms: list[tuple[str, str, str, Arm]] = []
    for side in study.sides:
        arms += [(side.pair, "student", "", side.student), (side.pair, "organism", "", side.organism)]
    arms += [(c.pair, c.method, f"{c.setting}, step {c.step}, seed {c.seed}", c.arm) for c in study.cells]
    rows = [
        (pair, model, point, measure, f"{tally.score()}", str(tally.n))
        for pair, model, point, arm in arms
        for measure, tally in further.get(arm.scores.digest, {}).items()
    ]
    columns = ("pair", "model", "point", "measure", "score [95 %]", "n")
    return [PlainTable(title="Further measures", columns=columns, rows=rows)] if rows else []


@dataclass(slots=True)
class _Spent:
    """What the artifacts of one kind cost: sums, and the highest memory; `watched` are seconds with a known share."""

    artifacts: int = 0
    seconds: float = 0.0
    tokens: int = 0
    size: int = 0
    watched: float = 0.0
    worked: float = 0.0
    memory: float = 0.0

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record."""
        facts, machine, seconds = record["facts"], record["machine"], float(record["seconds"])
        self.artifacts += 1
        self.seconds += seconds
        self.tokens += tokens_of(facts)
        self.size += sum(f["bytes"] for f in record["files"].values())
        if "device_share" in machine:
            self.watched += seconds
            self.worked += seconds * machine["device_share"]
        self.memory = max(self.memory, machine.get("peak_memory_gib", 0.0))

    def row(self, kind: str) -> tuple[str, ...]:
        """The columns of the table of costs."""
        return (
            kind,
            str(self.artifacts),
            duration(self.seconds),
            f"{self.seconds / self.artifacts:.2f}",
            f"{self.tokens:,}" if self.tokens else "",
            f"{self.tokens / self.seconds:,.0f}" if self.tokens and self.seconds else "",
            f"{self.worked / self.watched:.0%}" if self.watched else "",
            f"{self.memory:.2f}" if self.memory else "",
            f"{self.size / 2**20:,.1f}",
        )


def tokens_of(facts: Mapping[str, Any]) -> int:
    """Tokens that a computation read or wrote, as its facts count them; 0 if they count none."""
    return next((int(facts[name]) for name in _TOKENS if facts.get(name)), 0)


def made_of(study: Study, store: Store) -> list[tuple[Recipe, Mapping[str, Any]]]:
    """All that a study is made of and the store holds: recipes with their records, parents first."""
    found = [(recipe, store.find(recipe)) for recipe in closure(study.targets).values()]
    return [(recipe, artifact.record) for recipe, artifact in found if artifact is not None]


def cost_table(study: Study, store: Store) -> PlainTable:
    """Time, tokens, the device's work, memory and disk by kind of artifact, the dearest kind first."""
    spent: defaultdict[str, _Spent] = defaultdict(_Spent)
    for recipe, record in made_of(study, store):
        spent[recipe.kind].add(record)
    rows = [found.row(kind) for kind, found in sorted(spent.items(), key=lambda x: -x[1].seconds)]
    columns = ("kind", "artifacts", "time", "seconds each", "tokens", "tokens a second", "device busy", "GiB", "MiB")
    total = duration(sum(found.seconds for found in spent.values()))
    note = (
        f"Time that workers spent, {total} in all; tokens are those that a training read or that were sampled; 'device "
        "busy' is the share of that time in which the GPU, or the worker's share of the CPU, worked; GiB are the most "
        "memory in use at a time, MiB are on disk."
    )
    return PlainTable(title="Costs", columns=columns, rows=rows, note=note)


def software_cautions(study: Study, store: Store) -> list[Caution]:
    """Cautions if points were measured with several versions of what computes them, or with a newer Inspect's logs."""
    versions: dict[str, Counter[str]] = defaultdict(Counter)
    for cell in study.cells:
        for recipe in (cell.treatment, cell.arm.completions, cell.arm.scores):
            artifact = store.find(recipe)
            used = artifact.record["software"] if artifact else {}
            for name in (n for n in _COMPUTING if used.get(n)):
                versions[name][str(used[name])] += 1
    found = [Caution("serious", words)] if (words := _mixed(versions)) else []
    ours = software().get("inspect-ai")
    newer = sum(n for v, n in versions["inspect-ai"].items() if ours and Version(v) > Version(ours))
    if newer:
        words = (
            f"{newer} artifacts have logs of a newer inspect-ai than this installation's {ours}, which `inspect view` "
            "may not open; update it. The numbers here are from the score rows and do not depend on it."
        )
        found.append(Caution("serious", words))
    return found


def _mixed(versions: Mapping[str, Counter[str]]) -> str:
    mixed = {n: found for n, found in versions.items() if len(found) > 1}
    if not mixed:
        return ""
    parts = [f"{n} {', '.join(f'{v} ({k})' for v, k in sorted(found.items()))}" for n, found in mixed.items()]
    return f"The points were made with different versions of software, by number of artifacts: {'; '.join(parts)}."
