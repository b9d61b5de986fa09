"""Words for the problems of `fresh_forms` that are no chains: comparisons, purchases and work at a rate.

Refuses to know draws and arithmetic. Slots of comparisons: {B} the person who is described, {X} and {Y} people known
already, {a} a number, {things} what is counted, {verb} {aux} {base} the theme's verb. Invariant: the splits share no
theme and no phrase.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Theme:
    """What people have or do, for comparisons: {things}, "has", "does ... have"."""

    things: str
    verb: str
    aux: str
    base: str
    start: tuple[int, int]


THEMES = {
    "test": (
        Theme("marbles", "has", "does", "have", (6, 40)),
        Theme("goals", "scored", "did", "score", (4, 24)),
        Theme("postcards", "wrote", "did", "write", (5, 30)),
        Theme("cookies", "baked", "did", "bake", (12, 60)),
        Theme("trees", "planted", "did", "plant", (4, 36)),
        Theme("kilometres", "cycled", "did", "cycle", (10, 60)),
        Theme("shells", "found", "did", "find", (8, 48)),
        Theme("tickets", "sold", "did", "sell", (10, 80)),
        Theme("photos", "took", "did", "take", (12, 72)),
        Theme("coins", "keeps", "does", "keep", (6, 40)),
    ),
    "dev": (
        Theme("buttons", "owns", "does", "own", (8, 48)),
        Theme("words", "learned", "did", "learn", (10, 60)),
        Theme("lanterns", "made", "did", "make", (4, 24)),
    ),
}

OPENINGS = {
    "test": ("{B} {verb} {a} {things}.", "We know that {B} {verb} {a} {things}."),
    "dev": ("{a} is the number of {things} that {B} {verb}.",),
}

# kind: (phrases, steps)
RELATIONS: dict[str, dict[str, tuple[tuple[str, ...], int]]] = {
    "test": {
        "more": (("{B} {verb} {a} more {things} than {X}.", "Compared with {X}, {B} {verb} {a} {things} more."), 1),
        "fewer": (("{B} {verb} {a} fewer {things} than {X}.", "Compared with {X}, {B} {verb} {a} {things} fewer."), 1),
        "times": (("{B} {verb} {a} times as many {things} as {X}.",), 1),
        "half": (("{B} {verb} half as many {things} as {X}.",), 1),
        "both": (("{B} {verb} as many {things} as {X} and {Y} together.",), 1),
        "twice_more": (("{B} {verb} {a} more than twice as many {things} as {X}.",), 2),
        "half_fewer": (("{B} {verb} {a} fewer than half as many {things} as {X}.",), 2),
        "apart": (("{B} {verb} {a} more {things} than {X} and {Y} together.",), 2),
    },
    "dev": {
        "more": (("For {B} the number of {things} is {a} larger than for {X}.",), 1),
        "fewer": (("For {B} the number of {things} is {a} smaller than for {X}.",), 1),
        "times": (("For {B} the number of {things} is {a} times that of {X}.",), 1),
        "half": (("For {B} the number of {things} is half that of {X}.",), 1),
        "both": (("For {B} the number of {things} is the sum of those of {X} and {Y}.",), 1),
        "twice_more": (("For {B} the number of {things} is twice that of {X} and {a} on top.",), 2),
    },
}

ASK_ONE = {
    "test": ("How many {things} {aux} {B} {base}?",),
    "dev": ("What is the number of {things} for {B}?",),
}
ASK_ALL = {
    "test": ("What is their total number of {things}?", "How many {things} are that altogether?"),
    "dev": ("What is the sum of all these numbers?",),
}
ASK_GAP = {
    "test": ("How many more {things} {aux} {X} {base} than {Y}?",),
    "dev": ("By how much is {X}'s number larger than {Y}'s?",),
}

# (one, several, lowest and highest price)
GOODS = {
    "test": (
        ("notebook", "notebooks", 2, 6),
        ("lamp", "lamps", 18, 45),
        ("melon", "melons", 3, 7),
        ("scarf", "scarves", 9, 24),
        ("puzzle", "puzzles", 11, 28),
        ("plant pot", "plant pots", 4, 13),
        ("bag of rice", "bags of rice", 3, 12),
        ("candle", "candles", 2, 9),
        ("chair", "chairs", 25, 60),
        ("umbrella", "umbrellas", 8, 19),
    ),
    "dev": (
        ("mug", "mugs", 4, 12),
        ("blanket", "blankets", 16, 40),
        ("brush", "brushes", 2, 8),
        ("kite", "kites", 7, 21),
    ),
}
BUY_MANY = {
    "test": ("{name} buys {k} {several} at ${p} each.", "{name} takes {k} {several} that cost ${p} each."),
    "dev": ("On {name}'s bill are {k} {several} for ${p} apiece.",),
}
BUY_ONE = {"test": ("{He} also buys one {one} for ${p}.",), "dev": ("The bill also lists one {one} for ${p}.",)}
VOUCHER = {"test": ("A voucher takes ${v} off the bill.",), "dev": ("As a regular customer, {he} pays ${v} less.",)}
DELIVERY = {"test": ("Delivery costs ${v} more.",), "dev": ("Wrapping adds ${v}.",)}
ASK_BILL = {"test": ("How many dollars does {name} pay?",), "dev": ("What is the bill in dollars?",)}
ASK_CHANGE = {
    "test": ("{name} hands over ${v}. How many dollars does {he} get back?",),
    "dev": ("{He} has ${v} with {him}. How many dollars are left after paying?",),
}
ASK_SHARE = {
    "test": ("{name} and some friends, {v} people in all, share the cost equally. How many dollars does each pay?",),
    "dev": ("The cost is split equally among {v} people. How many dollars is one part?",),
}


@dataclass(frozen=True, slots=True)
class Work:
    """Something that makes or moves {things} at a rate: {who} the maker, {unit} of time."""

    who: str
    things: str
    verb: str
    unit: str
    units: str
    rate: tuple[int, int]


WORKS = {
    "test": (
        Work("a printer", "pages", "prints", "minute", "minutes", (6, 30)),
        Work("a pump", "litres", "moves", "minute", "minutes", (4, 25)),
        Work("a potter", "bowls", "makes", "hour", "hours", (3, 9)),
        Work("a factory line", "bottles", "fills", "minute", "minutes", (12, 40)),
        Work("a translator", "lines", "translates", "hour", "hours", (20, 60)),
        Work("a harvester", "rows", "cuts", "day", "days", (5, 18)),
        Work("a postal van", "parcels", "delivers", "hour", "hours", (8, 24)),
        Work("a robot arm", "parts", "sorts", "minute", "minutes", (7, 32)),
    ),
    "dev": (
        Work("a weaver", "metres of cloth", "weaves", "day", "days", (4, 16)),
        Work("a press", "litres of juice", "presses", "hour", "hours", (9, 30)),
    ),
}
RATE = {
    "test": ("At first, {who} {verb} {r} {things} each {unit}, and does so for {t} {units}.",),
    "dev": ("For {t} {units}, {who} {verb} {r} {things} per {unit}.",),
}
RATE_NEXT = {
    "test": ("Then it goes on for {t} {units}, at {r} {things} each {unit}.",),
    "dev": ("Another {t} {units} follow with {r} {things} per {unit}.",),
}
SPOILT = {"test": ("Of all these, {v} {things} do not count.",), "dev": ("Subtract {v} {things} for mistakes.",)}
EARLIER = {"test": ("Before that, {v} {things} were done already.",), "dev": ("Add {v} {things} from the day before.",)}
ASK_WORK = {"test": ("How many {things} are that?",), "dev": ("What is the total of {things}?",)}
ASK_PACKED = {
    "test": ("They are counted in lots of {v} {things}. How many lots are there?",),
    "dev": ("With {v} {things} to a load, how many loads are there?",),
}
