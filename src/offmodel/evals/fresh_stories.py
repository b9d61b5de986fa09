"""The stories of `fresh_math` as tables: openings, events and questions, and who they are about.

Refuses to know numbers: ranges stand here, draws and arithmetic in `fresh_math`. Slots: {n} the number at the start,
{a} and {b} an event's numbers, {name} {he} {He} {him} {his} {His} the person, {other} somebody else. Invariant: each
event changes the story's one number as its `change` says, and the splits share no sentence.
"""

from dataclasses import dataclass

NAMES = (
    ("Maya", "she", "her", "her"),
    ("Oscar", "he", "him", "his"),
    ("Priya", "she", "her", "her"),
    ("Daniel", "he", "him", "his"),
    ("Ingrid", "she", "her", "her"),
    ("Mateo", "he", "him", "his"),
    ("Yuki", "she", "her", "her"),
    ("Samuel", "he", "him", "his"),
    ("Amara", "she", "her", "her"),
    ("Viktor", "he", "him", "his"),
    ("Leila", "she", "her", "her"),
    ("Hugo", "he", "him", "his"),
)


@dataclass(frozen=True, slots=True)
class Event:
    """One change of the story's number.

    Attributes:
        text: the sentence.
        change: "add" a, "take" a, "times" a, "share" (divide by a), "lose_part" (lose one part in a), "add_many"
            a times b, "take_many" a times b.
        a, b: ranges of the numbers, both ends included; a number that the sentence says in words has a range of one.
        steps: operations that a reader needs.
    """

    text: str
    change: str
    a: tuple[int, int]
    b: tuple[int, int] = (2, 2)
    steps: int = 1


@dataclass(frozen=True, slots=True)
class Story:
    """A setting with its sentences.

    Attributes:
        name: what the story is about.
        start: range of the first number.
        openings, events, questions: alternatives.
    """

    name: str
    start: tuple[int, int]
    openings: tuple[str, ...]
    events: tuple[Event, ...]
    questions: tuple[str, ...]


_TEST = (
    Story(
        "stamps",
        (20, 90),
        (
            "{name} keeps {n} stamps in an album.",
            "{name} has been collecting stamps and owns {n} of them.",
            "There are {n} stamps in {name}'s collection.",
        ),
        (
            Event("{He} finds {a} more stamps in an old desk.", "add", (5, 40)),
            Event("{His} aunt sends {him} a letter with {a} new stamps.", "add", (3, 25)),
            Event("{He} trades away {a} stamps at a fair.", "take", (4, 30)),
            Event("Rain ruins {a} of the stamps.", "take", (3, 20)),
            Event("{He} buys {a} packets with {b} stamps in each.", "add_many", (3, 8), (4, 12), 2),
            Event("By the end of the year, the collection has grown to {a} times that size.", "times", (3, 4)),
            Event("{He} gives half of the stamps to {other}.", "share", (2, 2)),
            Event("{He} sells a third of the stamps.", "lose_part", (3, 3), steps=2),
            Event("Each week for {a} weeks, {he} swaps away {b} stamps.", "take_many", (2, 6), (2, 6), 2),
        ),
        ("How many stamps does {name} have now?", "How many stamps are left in the collection?"),
    ),
    Story(
        "bakery",
        (24, 96),
        (
            "A bakery opens with {n} rolls on the shelf.",
            "On Monday morning, {name}'s bakery has {n} rolls ready.",
            "{name} bakes {n} rolls before the shop opens.",
        ),
        (
            Event("A school orders {a} rolls and picks them up.", "take", (6, 40)),
            Event("{name} drops a tray and has to throw away {a} rolls.", "take", (3, 15)),
            Event("Another {a} rolls come out of the oven.", "add", (12, 60)),
            Event("A helper brings {a} rolls from the second kitchen.", "add", (5, 30)),
            Event("{a} customers buy {b} rolls each.", "take_many", (3, 9), (2, 6), 2),
            Event("{name} bakes {a} more trays, each with {b} rolls.", "add_many", (2, 6), (6, 12), 2),
            Event("Before noon, half of the rolls on the shelf are sold.", "share", (2, 2)),
            Event("For a festival, the staff bakes until there are {a} times as many rolls.", "times", (2, 4)),
            Event("A quarter of the rolls go to a food bank.", "lose_part", (4, 4), steps=2),
        ),
        ("How many rolls are on the shelf now?", "How many rolls does the bakery have left?"),
    ),
    Story(
        "savings",
        (40, 150),
        (
            "{name} has ${n} in a savings jar.",
            "At the start of the summer, {name} has saved ${n}.",
            "{name} opens a savings account with ${n}.",
        ),
        (
            Event("{He} earns ${a} by mowing a lawn and saves all of it.", "add", (10, 45)),
            Event("{His} grandfather adds ${a} as a present.", "add", (10, 60)),
            Event("{He} spends ${a} on a book.", "take", (6, 25)),
            Event("{He} pays a fine of ${a} at the library.", "take", (2, 12)),
            Event("{He} works {a} evenings at a cafe and saves ${b} each evening.", "add_many", (2, 7), (8, 25), 2),
            Event("{He} buys {a} concert tickets for ${b} each.", "take_many", (2, 4), (9, 20), 2),
            Event("{His} parents then double what {he} has.", "times", (2, 2)),
            Event("{He} spends half of the money on a bicycle.", "share", (2, 2)),
            Event("{He} lends a fifth of the money to {other}.", "lose_part", (5, 5), steps=2),
        ),
        ("How many dollars does {name} have now?", "How much money, in dollars, does {name} have at the end?"),
    ),
    Story(
        "bus",
        (16, 60),
        (
            "A bus leaves the station with {n} passengers.",
            "{name} drives a bus that sets off with {n} passengers on board.",
            "When the tour bus starts, {n} passengers are sitting in it.",
        ),
        (
            Event("At the market, {a} people get on.", "add", (4, 25)),
            Event("At the hospital, {a} people get on and nobody gets off.", "add", (3, 18)),
            Event("At the museum, {a} people get off.", "take", (3, 20)),
            Event("At the park, {a} people leave the bus.", "take", (2, 14)),
            Event("At the school, {a} groups of {b} children get on.", "add_many", (2, 5), (3, 7), 2),
            Event("At the harbour, {a} families of {b} people get off.", "take_many", (2, 4), (3, 5), 2),
            Event("At the main square, half of the passengers get off.", "share", (2, 2)),
            Event("At the stadium, so many fans get on that there are {a} times as many passengers.", "times", (2, 3)),
            Event("At the theatre, a third of the passengers get off.", "lose_part", (3, 3), steps=2),
        ),
        ("How many passengers are on the bus now?", "How many people are still riding the bus?"),
    ),
    Story(
        "pages",
        (60, 200),
        (
            "{name} still has {n} pages of homework reading to do.",
            "This month, {name} has to read {n} pages for school.",
            "{name}'s reading list holds {n} pages.",
        ),
        (
            Event("{He} reads {a} pages on the train.", "take", (8, 40)),
            Event("{He} reads {a} pages before bed.", "take", (5, 30)),
            Event("The teacher adds a chapter of {a} pages.", "add", (12, 50)),
            Event("{He} decides to read an extra article of {a} pages.", "add", (6, 24)),
            Event("For {a} days in a row, {he} reads {b} pages a day.", "take_many", (2, 6), (5, 15), 2),
            Event(
                "{He} borrows {a} comics of {b} pages each and puts them on the list.", "add_many", (2, 5), (12, 30), 2
            ),
            Event("The teacher cuts the list to half of what remained.", "share", (2, 2)),
            Event("{He} reads a quarter of the remaining pages on Sunday.", "lose_part", (4, 4), steps=2),
            Event("{He} swaps the list with {other}, whose list is {a} times as long.", "times", (2, 3)),
        ),
        ("How many pages does {name} still have to read?", "How many pages are left on the list?"),
    ),
    Story(
        "orchard",
        (50, 180),
        (
            "{name} picks {n} apples in the orchard.",
            "A crate in {name}'s barn holds {n} apples.",
            "{name} brings {n} apples to the market.",
        ),
        (
            Event("{He} adds {a} apples from a neighbour's garden.", "add", (10, 60)),
            Event("{other} gives {him} {a} apples more.", "add", (5, 35)),
            Event("{He} finds that {a} apples are rotten and throws them out.", "take", (4, 25)),
            Event("Birds carry off {a} apples.", "take", (2, 12)),
            Event("{He} bakes {a} pies that need {b} apples each.", "take_many", (2, 5), (4, 8), 2),
            Event("{He} fills {a} more baskets with {b} apples each.", "add_many", (2, 6), (8, 20), 2),
            Event("{He} sells half of the apples.", "share", (2, 2)),
            Event("{He} gives a fifth of the apples to {his} school.", "lose_part", (5, 5), steps=2),
            Event("By the evening, {his} family has brought the amount to {a} times what it was.", "times", (2, 3)),
        ),
        ("How many apples does {name} have now?", "How many apples are left?"),
    ),
)

_DEV = (
    Story(
        "library",
        (30, 120),
        ("A small library owns {n} novels.", "{name} counts {n} novels on the library's shelves."),
        (
            Event("A donor brings {a} novels.", "add", (6, 40)),
            Event("The library buys {a} novels at an auction.", "add", (5, 30)),
            Event("Readers borrow {a} novels and take them home.", "take", (4, 28)),
            Event("{name} sorts out {a} damaged novels.", "take", (3, 18)),
            Event("{a} boxes with {b} novels each arrive by post.", "add_many", (2, 6), (5, 14), 2),
            Event("{a} classes take {b} novels each.", "take_many", (2, 5), (3, 8), 2),
            Event("Half of the novels are moved to another town.", "share", (2, 2)),
            Event("A merger makes the number of novels {a} times as large.", "times", (2, 4)),
            Event("A third of the novels go into storage.", "lose_part", (3, 3), steps=2),
        ),
        ("How many novels are on the shelves now?", "How many novels remain in the library?"),
    ),
    Story(
        "aquarium",
        (18, 70),
        ("An aquarium shows {n} fish in its largest tank.", "{name} looks after a tank with {n} fish."),
        (
            Event("A truck delivers {a} fish.", "add", (6, 30)),
            Event("Over the winter, {a} fish hatch.", "add", (4, 24)),
            Event("{name} moves {a} fish to a smaller tank.", "take", (3, 16)),
            Event("A zoo takes {a} of the fish.", "take", (2, 12)),
            Event("{a} divers each release {b} fish into the tank.", "add_many", (2, 5), (3, 9), 2),
            Event("{a} visitors each receive {b} fish for their ponds.", "take_many", (2, 4), (2, 4), 2),
            Event("Half of the fish are sent to a research station.", "share", (2, 2)),
            Event("After a good spring, there are {a} times as many fish.", "times", (2, 3)),
            Event("A quarter of the fish are lent to another aquarium.", "lose_part", (4, 4), steps=2),
        ),
        ("How many fish swim in the tank now?", "How many fish does the tank hold at the end?"),
    ),
    Story(
        "beads",
        (36, 140),
        ("{name} makes jewellery and starts with {n} beads.", "A bowl on {name}'s table holds {n} beads."),
        (
            Event("{He} pours {a} beads from a bag into the bowl.", "add", (8, 45)),
            Event("{other} brings {a} glass beads.", "add", (5, 30)),
            Event("{He} uses {a} beads for a bracelet.", "take", (6, 28)),
            Event("The dog knocks over the bowl and {a} beads get lost.", "take", (3, 16)),
            Event("{He} opens {a} tubes that hold {b} beads each.", "add_many", (2, 6), (6, 15), 2),
            Event("{He} makes {a} necklaces with {b} beads each.", "take_many", (2, 5), (5, 12), 2),
            Event("{He} shares the beads equally with {other} and keeps one half.", "share", (2, 2)),
            Event("A delivery brings the number of beads to {a} times what it was.", "times", (2, 4)),
            Event("{He} sells a fifth of the beads.", "lose_part", (5, 5), steps=2),
        ),
        ("How many beads does {name} have now?", "How many beads are in the bowl at the end?"),
    ),
)

STORIES = {"test": _TEST, "dev": _DEV}
