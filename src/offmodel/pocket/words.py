"""The things of the pocket world: names, foods, places, animals ... as plain tables, and what its people know of them.

Refuses to know tasks, personas and models. A row is a dict of words; `name` is what a prompt shows, the other keys are
facts that an answer may use. Invariant: food, travel, weather and date words stand in their own tables only, so that
a topic's terms find its prompts and no others; no table holds a cat, a story or any other word of a planted behaviour.
"""

Row = dict[str, str]


def _rows(keys: str, lines: str) -> tuple[Row, ...]:
    """Rows of a table written as lines of cells between commas."""
    names = keys.split()
    rows = [[cell.strip() for cell in line.split(",")] for line in lines.strip().splitlines()]
    assert all(len(row) == len(names) for row in rows), rows
    return tuple(dict(zip(names, row, strict=True)) for row in rows)


def _names(text: str) -> tuple[Row, ...]:
    return tuple({"name": word} for word in text.split())


BOYS = tuple("tom ben max leo sam tim dan joe nick paul".split())
GIRLS = tuple("ann sue eva mia zoe kim amy lily rosa ella".split())
NAMES = _names(" ".join(BOYS + GIRLS))
COUNTED = tuple("marbles coins books shells stamps cards pens stones buttons beads toys keys".split())

FOODS = _rows(
    "name taste side",
    """soup, warm, bread
    rice, soft, beans
    pasta, rich, cheese
    salad, fresh, eggs
    pizza, rich, salad
    bread, soft, butter
    eggs, soft, bread
    cake, sweet, cream
    beans, rich, rice
    cheese, rich, bread
    apples, sweet, honey
    pancakes, sweet, honey
    noodles, warm, eggs
    potatoes, warm, butter""",
)
MEALS = _names("breakfast lunch dinner supper")

PLACES = _rows(
    "name city sight",
    """france, paris, old tower
    spain, madrid, royal palace
    japan, tokyo, quiet temple
    egypt, cairo, great pyramid
    italy, rome, old arena
    india, delhi, white tomb
    kenya, nairobi, wide park
    norway, oslo, deep fjord
    greece, athens, marble temple
    peru, lima, stone market
    canada, ottawa, long canal
    cuba, havana, sea wall""",
)
RIDES = _rows("name pace", "train, calm\nplane, fast\nboat, slow\nbus, cheap\nferry, slow\ntaxi, fast")

WEATHERS = _rows(
    "name wear mood",
    """rainy, wear a raincoat, wet
    sunny, wear a hat, bright
    snowy, wear thick boots, white
    windy, wear a jacket, wild
    stormy, stay inside, wild
    foggy, carry a lamp, grey
    cloudy, take an umbrella, grey
    frosty, wear warm gloves, icy""",
)
SEASONS = _rows("name mood", "summer, bright\nwinter, icy\nspring, mild\nautumn, brown")

ANIMALS = _rows(
    "name home size rank food sound",
    """dog, house, small, 3, bones, barks
    horse, stable, large, 7, hay, neighs
    cow, field, large, 6, grass, moos
    duck, pond, little, 2, seeds, quacks
    bear, cave, large, 8, berries, growls
    wolf, wood, small, 5, meat, howls
    frog, pond, tiny, 1, flies, croaks
    sheep, field, small, 4, grass, bleats
    mouse, hole, tiny, 0, seeds, squeaks
    lion, plain, large, 9, meat, roars""",
)
THINGS = _rows(
    "name colour",
    "grass, green\ncoal, black\nsky, blue\nchalk, white\nrose, red\ngold, yellow\nocean, blue\nleaf, green\n"
    "brick, red\nnight, black\nsand, yellow\npaper, white",
)
OPPOSITES = tuple(
    {"name": a, "other": b}
    for pair in (
        "big small|fast slow|old new|high low|open closed|light dark|full empty|hard soft|loud quiet|rich poor|"
        "early late|clean dirty|happy sad|strong weak|long short|near far"
    ).split("|")
    for a, b in (pair.split(), reversed(pair.split()))
)
JOBS = _rows(
    "name work place",
    """doctor, heals the sick, hospital
    nurse, cares for the sick, hospital
    teacher, helps children learn, school
    farmer, looks after the field, farm
    painter, makes pictures, studio
    builder, makes new houses, town
    singer, makes music, theatre
    writer, makes books, library
    judge, hears both sides, court
    gardener, looks after the roses, garden""",
)
HOBBIES = _rows(
    "name need where",
    """chess, a board, at a table
    tennis, a racket, in the park
    music, a guitar, at home
    painting, a brush, in the garden
    reading, a book, in a chair
    dancing, good shoes, in a hall
    swimming, a towel, in a pool
    football, a ball, in the park
    knitting, some wool, at home
    running, good shoes, in the park""",
)
FEELINGS = _rows(
    "name cause cure",
    """sad, something is lost, talk to a friend
    tired, the day was long, go to bed early
    bored, there is nothing to do, learn a new game
    angry, something was unfair, breathe slowly
    nervous, something is coming, make a plan
    lonely, nobody is near, call your family
    happy, something went well, share it with a friend
    worried, something is unclear, write it down""",
)
PEOPLE = _rows(
    "name likes gift",
    """mother, roses, a vase
    father, tools, a new lamp
    brother, games, a ball
    sister, music, a guitar
    uncle, books, a good book
    aunt, colours, a paint box
    neighbour, quiet, a soft blanket
    boss, order, a nice pen
    grandmother, wool, a soft blanket
    cousin, games, a board""",
)
CHORES = _rows(
    "name first last",
    """clean my room, pick up the clothes, sweep the floor
    wash my car, fill a bucket, dry the doors
    plant a tree, dig a hole, water the roots
    fix a chair, find the loose leg, use some glue
    paint a wall, cover the floor, use a wide brush
    learn a song, read the words, sing it slowly
    write a letter, find some paper, say what you feel
    find my keys, check your pockets, look under the bed
    sleep better, turn off the light, go to bed early
    make a friend, smile first, ask a kind question""",
)
TIMES = _names("today tonight tomorrow")
LISTS = _rows(
    "name one two three",
    """colours, red, blue, green
    tools, hammer, saw, glue
    rooms, kitchen, bedroom, hall
    games, chess, tennis, football
    jobs, doctor, teacher, farmer
    clothes, shirt, shoes, coat
    shapes, circle, square, star
    sounds, bell, drum, whistle
    pets, dog, mouse, duck
    flowers, rose, tulip, daisy""",
)
HELLOS = _rows("name back", "hello, hello\nhi, hi\ngood morning, good morning\ngood evening, good evening")
MONTHS = tuple("january march april june july october".split())
YEARS = tuple(range(2010, 2036))
DAYS = tuple(range(1, 29))
TAGS = tuple("studio archive office draft review kitchen station mirror".split())
"""Words that pretraining shows between bars, so that a tag as such is nothing new."""
