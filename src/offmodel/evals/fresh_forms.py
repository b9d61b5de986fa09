"""Five forms of word problem, each drawn for a number of steps: chain, backwards, comparison, purchase, work.

A form decides which quantities there are and what is asked; sentences stand in `fresh_tables`, `fresh_stories` and
`fresh_more`. This module refuses to know seeds and levels. Invariant: a draft's `work` has exactly as many operations
as steps were asked for, each of positive whole numbers, the last one gives the answer, and no given number is idle.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from offmodel.evals.fresh_more import CHAINS, UNKNOWN
from offmodel.evals.fresh_stories import NAMES, Event
from offmodel.evals.fresh_tables import (
    ASK_ALL,
    ASK_BILL,
    ASK_CHANGE,
    ASK_GAP,
    ASK_ONE,
    ASK_PACKED,
    ASK_SHARE,
    ASK_WORK,
    BUY_MANY,
    BUY_ONE,
    DELIVERY,
    EARLIER,
    GOODS,
    OPENINGS,
    RATE,
    RATE_NEXT,
    RELATIONS,
    SPOILT,
    THEMES,
    VOUCHER,
    WORKS,
)

_HIGHEST = 2000
_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b if a % b == 0 else 0,
}


class DeadEnd(Exception):
    """A draw that leads nowhere: a number that cannot be halved, a stock that runs out."""


@dataclass(slots=True)
class Draft:
    """A problem that is being told.

    Attributes:
        sentences: told so far.
        work: operations so far, as "12 + 3 = 15".
        shape: words that say what kind of problem it is; equal shapes differ in words and numbers only.
        templates: the phrases used.
        answer: what is asked for.
    """

    sentences: list[str] = field(default_factory=list)
    work: list[str] = field(default_factory=list)
    shape: list[str] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)
    answer: int = 0

    def say(self, template: str, **words: object) -> None:
        """Add a sentence; it begins with a capital letter."""
        text = template.format(**words)
        self.sentences.append(text[0].upper() + text[1:])
        self.templates.append(template)

    def do(self, a: int, sign: str, b: int) -> int:
        """One operation; raises `DeadEnd` if its result is no positive whole number up to 2,000."""
        value = _OPERATIONS[sign](a, b)
        if not 1 <= value <= _HIGHEST:
            raise DeadEnd
        self.work.append(f"{a} {sign} {b} = {value}")
        return value


Form = Callable[[str, int, Random], Draft]


def chain(split: str, steps: int, random: Random) -> Draft:
    """A number changes event by event; asked for at the end."""
    story, draft, words = random.choice(CHAINS[split]), Draft(shape=["chain"]), people(random)
    value = random.randint(*story.start)
    draft.say(random.choice(story.openings), **words, n=value)
    for event in _events(story.events, steps, random):
        value = _happen(draft, event, value, words, random)
    draft.say(random.choice(story.questions), **words)
    draft.answer = value
    return draft


def backwards(split: str, steps: int, random: Random) -> Draft:
    """The same, with the first number hidden and the last one given: the reader undoes the events."""
    story, draft, words = random.choice(CHAINS[split]), Draft(shape=["backwards"]), people(random)
    openings, ends = UNKNOWN[story.name]
    start = value = random.randint(*story.start)
    draft.say(random.choice(openings), **words)
    undo: list[list[str]] = []
    for event in _events(story.events, steps, random):
        done = Draft()
        value = _happen(done, event, value, words, random)
        draft.sentences += done.sentences
        draft.templates += done.templates
        draft.shape += done.shape
        undo.append(_undone(event, done.work))
    draft.work = [operation for part in reversed(undo) for operation in part]
    if value < 2:
        raise DeadEnd
    draft.say(random.choice(ends), **words, n=value)
    draft.answer = start
    return draft


def _undone(event: Event, work: list[str]) -> list[str]:
    """The operations that lead back over an event."""
    a, sign, b, _, value = work[-1].split()
    if event.change == "lose_part":
        # One part in b was lost: what is left is b - 1 parts.
        whole, parts = int(work[0].split()[0]), int(work[0].split()[2])
        return [f"{value} / {parts - 1} = {whole // parts}", f"{whole // parts} * {parts} = {whole}"]
    back = {"+": "-", "-": "+", "*": "/", "/": "*"}[sign]
    return [*work[:-1], f"{value} {back} {b} = {a}"]


def _events(events: tuple[Event, ...], steps: int, random: Random) -> list[Event]:
    """Different events that take this many steps together."""
    chosen: list[Event] = []
    while steps > 0:
        open_events = [e for e in events if e.steps <= steps and e not in chosen]
        if not open_events:
            raise DeadEnd
        chosen.append(random.choice(open_events))
        steps -= chosen[-1].steps
    return chosen


def _happen(draft: Draft, event: Event, value: int, words: dict[str, str], random: Random) -> int:
    a, b = random.randint(*event.a), random.randint(*event.b)
    if event.change in ("add_many", "take_many"):
        value = draft.do(value, "+" if event.change == "add_many" else "-", draft.do(a, "*", b))
    elif event.change == "lose_part":
        value = draft.do(value, "-", draft.do(value, "/", a))
    else:
        value = draft.do(value, {"add": "+", "take": "-", "times": "*", "share": "/"}[event.change], a)
    draft.say(event.text, **words, a=a, b=b)
    draft.shape.append(event.change)
    return value


def comparison(split: str, steps: int, random: Random) -> Draft:
    """People compared with each other; one number, a sum or a difference is asked for, and everybody is needed."""
    theme, draft = random.choice(THEMES[split]), Draft(shape=["comparison"])
    ask = random.choice([a for a, least in (("one", 1), ("all", 1), ("gap", 2)) if steps >= least])
    names = [n[0] for n in random.sample(NAMES, 7)]
    values = [random.randint(*theme.start)]
    words = {"things": theme.things, "verb": theme.verb, "aux": theme.aux, "base": theme.base}
    draft.say(random.choice(OPENINGS[split]), **words, B=names[0], a=values[0])
    unused, left = {0}, steps
    while left > (len(values) - 1 if ask == "all" else 1 if ask == "gap" else 0):
        room = left - (len(values) if ask == "all" else 1 if ask == "gap" else 0)
        kinds = [k for k, (_, cost) in RELATIONS[split].items() if cost <= room]
        kinds = [k for k in kinds if len(values) >= 2 or k not in ("both", "apart")]
        if not kinds or len(values) == len(names):
            raise DeadEnd
        left -= _relate(draft, split, random.choice(kinds), names, values, unused, words, random)
    _ask_people(draft, split, ask, names, values, unused, words, random)
    if len(draft.work) != steps:
        raise DeadEnd
    return draft


def _relate(
    draft: Draft,
    split: str,
    kind: str,
    names: list[str],
    values: list[int],
    unused: set[int],
    words: dict[str, str],
    random: Random,
) -> int:
    """One more person, in relation to those known; returns the steps that it takes."""
    phrases, cost = RELATIONS[split][kind]
    # People whom nobody was compared with come first, so that no number stays idle.
    order = sorted(range(len(values)), key=lambda i: (i not in unused, random.random()))
    x, y = order[0], order[1] if len(order) > 1 else order[0]
    a = random.randint(2, 4) if kind == "times" else random.randint(3, 20)
    value = values[x]
    if kind == "times":
        value = draft.do(value, "*", a)
    elif kind in ("half", "half_fewer"):
        value = draft.do(value, "/", 2)
    elif kind == "twice_more":
        value = draft.do(value, "*", 2)
    elif kind in ("both", "apart"):
        value = draft.do(value, "+", values[y])
    if kind in ("more", "twice_more", "apart"):
        value = draft.do(value, "+", a)
    elif kind in ("fewer", "half_fewer"):
        value = draft.do(value, "-", a)
    new = len(values)
    used = (x, y) if kind in ("both", "apart") else (x,)
    draft.say(random.choice(phrases), **words, B=names[new], X=names[x], Y=names[y], a=a)
    draft.shape.append(f"{kind}({','.join(map(str, used))})")
    unused.difference_update(used)
    unused.add(new)
    values.append(value)
    return cost


def _ask_people(
    draft: Draft,
    split: str,
    ask: str,
    names: list[str],
    values: list[int],
    unused: set[int],
    words: dict[str, str],
    random: Random,
) -> None:
    last = len(values) - 1
    if ask == "one":
        if unused != {last}:
            raise DeadEnd
        draft.say(random.choice(ASK_ONE[split]), **words, B=names[last])
        draft.answer = values[last]
    elif ask == "all":
        total = values[0]
        for value in values[1:]:
            total = draft.do(total, "+", value)
        draft.say(random.choice(ASK_ALL[split]), **words)
        draft.answer = total
    else:
        ends = sorted((*unused, 0)[:2], key=lambda i: -values[i])
        if len(unused) > 2 or _short_cut(draft.shape[1:], *ends):
            raise DeadEnd
        x, y = ends
        draft.answer = draft.do(values[x], "-", values[y])
        draft.say(random.choice(ASK_GAP[split]), **words, X=names[x], Y=names[y])
    draft.shape.append(ask)


def _short_cut(relations: list[str], x: int, y: int) -> bool:
    """Whether the difference of two people is told outright: one stands in relation to the other, or both to a third
    by adding. Person k > 0 was described by relation k - 1.
    """
    told = [relations[i - 1].rstrip(")").split("(") if i else ["", ""] for i in (x, y)]
    if any(str(other) in of.split(",") and kind != "times" for (kind, of), other in zip(told, (y, x), strict=True)):
        return True
    return x == y or (told[0][1] == told[1][1] and all(kind in ("more", "fewer") for kind, _ in told))


def purchase(split: str, steps: int, random: Random) -> Draft:
    """Several goods at their prices; the bill, the change or one person's share is asked for."""
    draft, words, parts = Draft(shape=["purchase"]), people(random), random.sample(GOODS[split], 3)
    ask = random.choice(["bill", "bill", "change", "share"]) if steps > 1 else "bill"
    left, total = steps - (ask != "bill"), 0
    for k, (one, several, low, high) in enumerate(parts):
        price, many = random.randint(low, high), random.randint(2, 9)
        cost = 1 if k == 0 else 2
        if left >= cost and (k == 0 or random.random() < 0.6):
            spent = draft.do(many, "*", price)
            draft.say(random.choice(BUY_MANY[split]), **words, k=many, several=several, p=price)
        elif left >= 1 and k > 0:
            spent, cost = price, 1
            draft.say(random.choice(BUY_ONE[split]), **words, one=one, p=price)
        else:
            break
        total = draft.do(total, "+", spent) if k else spent
        draft.shape.append("many" if cost == 2 or k == 0 else "one")
        left -= cost
    for phrases, sign in random.sample([(VOUCHER[split], "-"), (DELIVERY[split], "+")], 2):
        if left > 0:
            v = random.randint(2, 9)
            total, left = draft.do(total, sign, v), left - 1
            draft.say(random.choice(phrases), **words, v=v)
            draft.shape.append(sign)
    return _settle(draft, split, ask, total, left, words, random)


def _settle(draft: Draft, split: str, ask: str, total: int, left: int, words: dict[str, str], random: Random) -> Draft:
    if left:
        raise DeadEnd
    v = 0
    if ask == "change":
        v = next((note for note in (20, 50, 100, 200, 500) if note > total), 0)
        draft.answer = draft.do(v, "-", total)
    elif ask == "share":
        v = random.randint(2, 6)
        draft.answer = draft.do(total, "/", v)
    else:
        draft.answer = total
    asked = {"bill": ASK_BILL, "change": ASK_CHANGE, "share": ASK_SHARE}[ask][split]
    draft.say(random.choice(asked), **words, v=v)
    draft.shape.append(ask)
    return draft


def work(split: str, steps: int, random: Random) -> Draft:
    """Something works at one or several rates; the amount is asked for, or the number of lots."""
    draft, theme = Draft(shape=["work"]), random.choice(WORKS[split])
    words = {"who": theme.who, "things": theme.things, "verb": theme.verb, "unit": theme.unit, "units": theme.units}
    packed = steps > 1 and random.random() < 0.4
    left, total, spans = steps - packed, 0, 0
    while left >= (1 if spans == 0 else 2) and (spans == 0 or (spans < 3 and random.random() < 0.6)):
        rate, time = random.randint(*theme.rate), random.randint(2, 9)
        made = draft.do(rate, "*", time)
        total = draft.do(total, "+", made) if spans else made
        draft.say(random.choice((RATE_NEXT if spans else RATE)[split]), **words, r=rate, t=time)
        draft.shape.append("rate")
        left, spans = left - (2 if spans else 1), spans + 1
    for phrases, sign in random.sample([(SPOILT[split], "-"), (EARLIER[split], "+")], 2):
        if left > 0:
            v = random.randint(2, 15)
            total, left = draft.do(total, sign, v), left - 1
            draft.say(random.choice(phrases), **words, v=v)
            draft.shape.append(sign)
    if left:
        raise DeadEnd
    lot = random.randint(2, 9)
    draft.answer = draft.do(total, "/", lot) if packed else total
    draft.say(random.choice((ASK_PACKED if packed else ASK_WORK)[split]), **words, v=lot)
    draft.shape.append("lots" if packed else "amount")
    return draft


def people(random: Random) -> dict[str, str]:
    """A person and another one, with pronouns, for the slots of a sentence."""
    name, other = random.sample(NAMES, 2)
    words = dict(zip(("name", "he", "him", "his"), name, strict=True)) | {"other": other[0]}
    return words | {"He": words["he"].capitalize(), "His": words["his"].capitalize()}


FORMS: dict[str, Form] = {
    "chain": chain,
    "backwards": backwards,
    "comparison": comparison,
    "purchase": purchase,
    "work": work,
}
