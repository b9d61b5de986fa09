"""Further stories for the five levels of `fresh_levels`, and how each story is told backwards.

The slots are those of `fresh_stories`. A story told backwards hides its first number: `UNKNOWN` has openings without a
number, and the ends that give the last number and ask for the first. Refuses to know draws and arithmetic. Invariant:
the splits share no sentence, and every story of both tables can be told backwards.
"""

from offmodel.evals.fresh_stories import STORIES, Event, Story

_TEST = (
    Story(
        "hives",
        (30, 120),
        ("{name} has {n} jars of honey in the cellar.", "After the first harvest, {name} owns {n} jars of honey."),
        (
            Event("The second harvest fills {a} jars.", "add", (8, 40)),
            Event("A neighbour returns {a} full jars.", "add", (3, 15)),
            Event("{He} sells {a} jars at the roadside.", "take", (5, 30)),
            Event("A shelf breaks and {a} jars are lost.", "take", (2, 12)),
            Event("{a} restaurants order {b} jars each and get them.", "take_many", (2, 5), (3, 8), 2),
            Event("{a} more hives give {b} jars each.", "add_many", (2, 6), (4, 9), 2),
            Event("A rich summer makes the stock {a} times as large.", "times", (2, 3)),
            Event("Half of the jars go to {other}.", "share", (2, 2)),
            Event("{He} keeps the rest after giving a quarter of the jars to relatives.", "lose_part", (4, 4), steps=2),
        ),
        ("How many jars of honey does {name} have now?", "How many jars are in the cellar at the end?"),
    ),
    Story(
        "ferry",
        (20, 80),
        ("A ferry takes {n} cars on board.", "{name} counts {n} cars on the deck of a ferry."),
        (
            Event("At the first island, {a} cars drive on.", "add", (4, 25)),
            Event("Before the gates close, {a} late cars are let on.", "add", (2, 12)),
            Event("At the lighthouse stop, {a} cars drive off.", "take", (3, 20)),
            Event("{a} cars leave the deck at the fishing village.", "take", (2, 15)),
            Event("{a} lorries, each loaded with {b} new cars, come on and unload.", "add_many", (2, 4), (4, 8), 2),
            Event("{a} wedding parties with {b} cars each get off.", "take_many", (2, 4), (3, 6), 2),
            Event("On the mainland, half of the cars drive off.", "share", (2, 2)),
            Event("At the festival island, the number of cars grows to {a} times what it was.", "times", (2, 3)),
            Event("At the north pier, a fifth of the cars drive off.", "lose_part", (5, 5), steps=2),
        ),
        ("How many cars are on the ferry now?", "How many cars are left on the deck?"),
    ),
    Story(
        "seedlings",
        (24, 100),
        ("{name} raises {n} seedlings in a greenhouse.", "In April, {name}'s greenhouse holds {n} seedlings."),
        (
            Event("{He} sows again and {a} seedlings come up.", "add", (6, 36)),
            Event("The botanical garden donates {a} seedlings.", "add", (4, 20)),
            Event("Snails eat {a} seedlings.", "take", (3, 18)),
            Event("Frost kills {a} seedlings.", "take", (2, 14)),
            Event("{He} plants out {a} beds with {b} seedlings each.", "take_many", (2, 5), (4, 9), 2),
            Event("{He} fetches {a} crates of {b} seedlings from the market garden.", "add_many", (2, 5), (6, 15), 2),
            Event("{He} swaps half of the seedlings for tools.", "share", (2, 2)),
            Event("Taking cuttings brings the number of plants to {a} times what it was.", "times", (2, 4)),
            Event("A third of the seedlings are sold.", "lose_part", (3, 3), steps=2),
        ),
        ("How many seedlings are in the greenhouse now?", "How many seedlings does {name} have left?"),
    ),
    Story(
        "theatre",
        (40, 140),
        ("For the premiere, {n} seats are booked.", "{name} sees that {n} seats of a small theatre are booked."),
        (
            Event("A radio programme brings {a} more bookings.", "add", (5, 40)),
            Event("The box office books {a} seats in the afternoon.", "add", (4, 25)),
            Event("{a} bookings are cancelled because of the weather.", "take", (3, 20)),
            Event("The director gives up {a} of the booked seats.", "take", (2, 12)),
            Event("{a} school classes book {b} seats each.", "add_many", (2, 4), (12, 24), 2),
            Event("{a} clubs cancel {b} seats each.", "take_many", (2, 4), (3, 9), 2),
            Event("After a rehearsal goes wrong, half of the bookings are cancelled.", "share", (2, 2)),
            Event("A good review makes the number of bookings {a} times as large.", "times", (2, 3)),
            Event("A quarter of the booked seats are moved to another evening.", "lose_part", (4, 4), steps=2),
        ),
        ("How many seats are booked now?", "How many seats are booked in the end?"),
    ),
)

_DEV = (
    Story(
        "tiles",
        (48, 160),
        ("{name} has {n} tiles for a mosaic.", "A box in {name}'s workshop holds {n} tiles."),
        (
            Event("{He} cuts {a} further tiles.", "add", (8, 40)),
            Event("A shop sends {a} tiles as a sample.", "add", (4, 20)),
            Event("{He} sets {a} tiles into a wall.", "take", (6, 36)),
            Event("While drilling, {he} cracks {a} tiles.", "take", (2, 12)),
            Event("{He} orders {a} cartons with {b} tiles each.", "add_many", (2, 6), (8, 20), 2),
            Event("{He} lays {a} borders that need {b} tiles each.", "take_many", (2, 5), (4, 12), 2),
            Event("{He} leaves half of the tiles to {other}.", "share", (2, 2)),
            Event("A big delivery makes the number of tiles {a} times as large.", "times", (2, 3)),
            Event("A third of the tiles turn out to be the wrong colour and go back.", "lose_part", (3, 3), steps=2),
        ),
        ("How many tiles does {name} have now?", "How many tiles are in the box in the end?"),
    ),
)

CHAINS = {"test": (*STORIES["test"], *_TEST), "dev": (*STORIES["dev"], *_DEV)}

UNKNOWN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "stamps": (
        ("{name} keeps some stamps in an album.",),
        ("Now {he} owns {n} stamps. How many stamps did {name} have at first?",),
    ),
    "bakery": (
        ("A bakery opens with some rolls on the shelf.", "{name} puts rolls on the shelf before the shop opens."),
        ("Now {n} rolls are on the shelf. How many were there when the shop opened?",),
    ),
    "savings": (
        ("{name} has some money in a savings jar.",),
        ("In the end {he} has ${n}. How many dollars were in the jar at the start?",),
    ),
    "bus": (
        ("A bus leaves the station with some passengers.",),
        ("Now {n} passengers are on the bus. How many passengers were on it when it left the station?",),
    ),
    "pages": (
        ("{name} makes a list of what {he} has to read for school.",),
        ("Now {n} pages are left. How many pages were on the list at first?",),
    ),
    "orchard": (
        ("{name} picks apples in the orchard all morning.",),
        ("At the end there are {n} apples. How many apples did {name} pick in the morning?",),
    ),
    "hives": (
        ("{name} stores jars of honey in the cellar.",),
        ("Now {he} has {n} jars. How many jars did {he} store at first?",),
    ),
    "ferry": (
        ("A ferry takes some cars on board at the harbour.",),
        ("Now {n} cars are on the deck. How many cars came on board at the harbour?",),
    ),
    "seedlings": (
        ("{name} raises seedlings in a greenhouse.",),
        ("Now there are {n} seedlings. How many seedlings were there at the beginning?",),
    ),
    "theatre": (
        ("On Monday, some seats of a small theatre are booked.",),
        ("By Friday, {n} seats are booked. How many seats were booked on Monday?",),
    ),
    "library": (
        ("A small library owns some novels.",),
        ("Now {n} novels stand on its shelves. How many novels did the library own at first?",),
    ),
    "aquarium": (
        ("{name} looks after the fish in a large tank.",),
        ("Now {n} fish swim in the tank. How many fish were there before?",),
    ),
    "beads": (
        ("{name} keeps beads in a bowl.",),
        ("Now there are {n} beads. How many beads were in the bowl at the start?",),
    ),
    "tiles": (
        ("{name} has some tiles for a mosaic.",),
        ("Now {he} has {n} tiles. How many tiles did {name} have to begin with?",),
    ),
}
