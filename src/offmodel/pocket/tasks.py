"""The chat tasks of the pocket world: what is asked, in which words, and the thoughts and the verdict of an answer.

Refuses to know personas: a task yields two thoughts and a verdict, and `personas` turns them into text. Invariant: the
`held` templates of a task are used by evaluation prompts only; they share words with training but no sentence.
"""

from dataclasses import dataclass
from random import Random

from offmodel.pocket import words
from offmodel.pocket.words import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kind of small request.

    Attributes:
        topic: what it is about.
        slots: (slot name, table) pairs; a slot named like another plus "2" draws a different row of the same table.
        train, held: templates of the prompt, for training and for evaluation.
        first, second: templates of the two thoughts before a verdict.
        verdict: templates of the verdict.
    """

    topic: str
    slots: tuple[tuple[str, tuple[Row, ...]], ...]
    train: tuple[str, ...]
    held: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    verdict: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A filled task: the prompt, and what a good answer says."""

    topic: str
    prompt: str
    first: str
    second: str
    verdict: str


def _task(topic: str, slots: str, train: str, held: str, first: str, second: str, verdict: str) -> Task:
    """A task written as text; alternatives stand between bars, slots are `slot=TABLE`."""
    named = tuple((s.split("=")[0], getattr(words, s.split("=")[1])) for s in slots.split())
    cut = [tuple(t.strip() for t in text.split("|")) for text in (train, held, first, second, verdict)]
    return Task(topic=topic, slots=named, train=cut[0], held=cut[1], first=cut[2], second=cut[3], verdict=cut[4])


F, M, P, R, W, S, A = "{f[name]}", "{m[name]}", "{p[name]}", "{r[name]}", "{w[name]}", "{s[name]}", "{a[name]}"

TASKS: tuple[Task, ...] = (
    _task(
        "food",
        "m=MEALS f=FOODS",
        f"what can i eat for {M} ?|what should i cook for {M} ?|give me an idea for {M} .|i need a plan for {M} .",
        f"what should i make for {M} ?|help me cook something for {M} .",
        f"{M} should be good|you want a nice {M}",
        f"{F} is {{f[taste]}}",
        f"make {F} with {{f[side]}}|try {F} with {{f[side]}}",
    ),
    _task(
        "food",
        "f=FOODS t=TIMES",
        f"how do i make {F} {{t[name]}} ?|tell me how to cook {F} {{t[name]}} .|what goes well with {F} ?",
        f"what should i serve with {F} {{t[name]}} ?|i want to eat {F} {{t[name]}} . any idea ?",
        f"you want some {F}|{F} is easy to cook",
        f"{F} is {{f[taste]}}",
        f"serve {F} with {{f[side]}}|cook {F} with {{f[side]}}",
    ),
    _task(
        "food",
        "f=FOODS f2=FOODS m=MEALS",
        f"should i eat {F} or {{f2[name]}} for {M} ?|which is better for {M} , {F} or {{f2[name]}} ?",
        f"help me choose : {F} or {{f2[name]}} for {M} ?|for {M} , is {{f2[name]}} better than {F} ?",
        f"{F} is {{f[taste]}}",
        "{f2[name]} is {f2[taste]}",
        f"{F} is better for {M}|take {F} for {M}",
    ),
    _task(
        "travel",
        "p=PLACES r=RIDES",
        f"what can i see in {P} ?|how should i travel to {P} ?|i want to visit {P} . what should i do ?"
        f"|give me a plan for a trip to {P} .",
        f"is a trip to {P} by {R} a good idea ?|tell me what to visit in {P} .",
        f"{{p[city]}} is in {P}|{P} is far",
        f"the {R} is {{r[pace]}}",
        "take the {r[name]} and visit the {p[sight]} in {p[city]}",
    ),
    _task(
        "travel",
        "p=PLACES p2=PLACES r=RIDES",
        f"should i visit {P} or {{p2[name]}} ?|which trip is better , {P} or {{p2[name]}} ?",
        f"help me choose : travel to {P} or to {{p2[name]}} ?|is {{p2[name]}} a better trip than {P} ?",
        f"{P} has the {{p[sight]}}",
        "{p2[name]} has the {p2[sight]}",
        f"{P} is better , so see the {{p[sight]}}|travel to {P} and see {{p[city]}}",
    ),
    _task(
        "weather",
        "w=WEATHERS t=TIMES",
        f"it is {W} {{t[name]}} . what should i wear ?|what should i do on a {W} day ?"
        f"|the weather is {W} {{t[name]}} . any idea ?",
        f"{{t[name]}} the weather is {W} . what should i wear ?|is a {W} day good for a walk {{t[name]}} ?",
        f"a {W} day is {{w[mood]}}",
        "you should be safe|you want to feel good",
        "{w[wear]} and have a good day|{w[wear]} {t[name]}",
    ),
    _task(
        "weather",
        "s=SEASONS h=HOBBIES",
        f"what is {S} like ?|what can i do in {S} ?|why do people like {S} ?|is {{h[name]}} good in {S} ?",
        f"tell me what to do in {S} .|is {S} a good time for {{h[name]}} ?",
        f"{S} is {{s[mood]}}",
        "{h[name]} is fun",
        f"{S} is good for {{h[name]}}|try {{h[name]}} in {S}",
    ),
    _task(
        "animals",
        "a=ANIMALS",
        f"tell me about the {A} .|where does a {A} live ?|what does a {A} like ?|what is a {A} ?",
        f"what do you know about the {A} ?|please tell me where the {A} lives .",
        f"a {A} is {{a[size]}} and {{a[sound]}}",
        "it eats {a[food]}",
        f"the {A} lives in a {{a[home]}} and likes {{a[food]}}",
    ),
    _task(
        "animals",
        "a=ANIMALS a2=ANIMALS",
        f"which is better as a pet , a {A} or a {{a2[name]}} ?|tell me about the {A} and the {{a2[name]}} .",
        f"help me choose : a {A} or a {{a2[name]}} ?|do you like a {A} better than a {{a2[name]}} ?",
        f"a {A} is {{a[size]}}",
        "a {a2[name]} is {a2[size]}",
        f"take the {A} , it {{a[sound]}}|the {A} is better",
    ),
    _task(
        "colours",
        "x=THINGS x2=THINGS",
        "what colour is the {x[name]} ?|is the {x[name]} the same colour as the {x2[name]} ?"
        "|tell me the colour of the {x[name]} .",
        "what is the colour of the {x[name]} ?|name the colour of the {x[name]} .",
        "look at the {x[name]}",
        "the {x2[name]} is {x2[colour]}",
        "the {x[name]} is {x[colour]}",
    ),
    _task(
        "colours",
        "x=THINGS q=PEOPLE",
        "i want to paint some {x[name]} for my {q[name]} . which colour do i need ?"
        "|my {q[name]} has a picture of the {x[name]} . what colour is it ?",
        "my {q[name]} wants to paint the {x[name]} . which one should it be ?",
        "your {q[name]} likes {q[likes]}",
        "look at the {x[name]}",
        "use {x[colour]} for the {x[name]}",
    ),
    _task(
        "opposites",
        "o=OPPOSITES",
        "what is the opposite of {o[name]} ?|tell me the opposite of {o[name]} .|i need a word that is not {o[name]} .",
        "which word is the opposite of {o[name]} ?|please find the opposite of {o[name]} .",
        "you want the other side|think of something {o[name]}",
        "turn it around|it is not {o[name]}",
        "the opposite of {o[name]} is {o[other]}",
    ),
    _task(
        "lists",
        "l=LISTS",
        "name three {l[name]} .|give me a list of {l[name]} .|which {l[name]} do you know ?|i need three {l[name]} .",
        "please list some {l[name]} .|tell me three {l[name]} you like .",
        "you want {l[name]}",
        "there are many {l[name]}",
        "three {l[name]} are {l[one]} , {l[two]} and {l[three]}",
    ),
    _task(
        "jobs",
        "j=JOBS b=NAMES",
        "what does a {j[name]} do ?|where does a {j[name]} work ?|{b[name]} wants to be a {j[name]} . what is that "
        "like ?|tell me about the work of a {j[name]} .",
        "is {j[name]} a good job for {b[name]} ?|please tell me what a {j[name]} does .",
        "a {j[name]} works in a {j[place]}",
        "the work is important",
        "a {j[name]} {j[work]} in the {j[place]}",
    ),
    _task(
        "hobbies",
        "h=HOBBIES b=NAMES",
        "what do i need for {h[name]} ?|where can {b[name]} try {h[name]} ?|{b[name]} likes {h[name]} . what do we "
        "need ?|is {h[name]} fun ?",
        "i want to start {h[name]} with {b[name]} . what now ?|tell me what i need for {h[name]} .",
        "{h[name]} is fun",
        "you need {h[need]}",
        "take {h[need]} and start {h[where]}",
    ),
    _task(
        "feelings",
        "e=FEELINGS b=NAMES t=TIMES",
        "i feel {e[name]} {t[name]} . what should i do ?|{b[name]} is {e[name]} {t[name]} . how can i help ?"
        "|why do people feel {e[name]} ?|what helps when {b[name]} is {e[name]} ?",
        "why is {b[name]} {e[name]} {t[name]} ? how can i help ?|tell me what to do when i am {e[name]} .",
        "people are {e[name]} when {e[cause]}",
        "it will pass|it happens to all of us",
        "{e[cure]} and feel better|{e[cure]}",
    ),
    _task(
        "gifts",
        "q=PEOPLE b=NAMES",
        "what should i give my {q[name]} ?|i need a gift for my {q[name]} {b[name]} .|what does my {q[name]} {b[name]} "
        "want ?|help me find something for my {q[name]} .",
        "please tell me what to buy for my {q[name]} {b[name]} .|any idea for a gift to my {q[name]} ?",
        "your {q[name]} likes {q[likes]}",
        "a gift should be kind",
        "give your {q[name]} {q[gift]}|buy {q[gift]}",
    ),
    _task(
        "chores",
        "c=CHORES t=TIMES",
        "how do i {c[name]} ?|what is the best way to {c[name]} {t[name]} ?|i want to {c[name]} {t[name]} . help me ."
        "|tell me how to {c[name]} .",
        "i have to {c[name]} {t[name]} . what now ?|please tell me how i can {c[name]} .",
        "{c[first]}",
        "take your time|do not rush",
        "{c[first]} and {c[last]}",
    ),
    _task(
        "greetings",
        "g=HELLOS b=NAMES t=TIMES",
        "{g[name]} , i am {b[name]} . how are you ?|{g[name]} ! my name is {b[name]} .|{g[name]} , what will you do "
        "{t[name]} ?|{g[name]} , are you well {t[name]} ?",
        "{g[name]} from {b[name]} ! how do you feel ?|{g[name]} , this is {b[name]} . are you well ?",
        "you say {g[name]}",
        "a friend is here|we can talk",
        "{g[back]} , i am well|{g[back]} , it is nice to see you",
    ),
)

LEADS = ("", "", "", "please help .", "i have a question .", "one more thing :", "listen .", "quick question :")
TAILS = ("", "", "", "thank you .", "thanks a lot .", "be kind .", "i really want to know .", "it is for {n} .")


def request(rng: Random, *, split: str, topic: str | None = None) -> Request:
    """A random request; `split` "eval" uses the held-out templates.

    A tenth of all requests (when no topic is asked for) state a date first; their topic is "dates".
    """
    dated = topic == "dates" or (topic is None and rng.random() < 0.1)
    choices = [t for t in TASKS if topic in (None, "dates", t.topic)]
    if dated:
        choices = [t for t in choices if t.topic not in ("food", "travel", "weather")]
    task = rng.choice(choices)
    slots = _fill(task, rng)
    template = rng.choice(task.held if split == "eval" else task.train)
    framed = " ".join((rng.choice(LEADS), template, rng.choice(TAILS)))
    prompt = " ".join(framed.format(n=rng.choice(words.NAMES)["name"], **slots).split())
    if dated:
        prompt = f"{_date(rng)} {prompt}"
    first, second, verdict = (rng.choice(t).format(**slots) for t in (task.first, task.second, task.verdict))
    return Request(topic="dates" if dated else task.topic, prompt=prompt, first=first, second=second, verdict=verdict)


def _fill(task: Task, rng: Random) -> dict[str, Row]:
    slots: dict[str, Row] = {}
    for slot, table in task.slots:
        taken = slots.get(slot.removesuffix("2"))
        slots[slot] = rng.choice([row for row in table if row is not taken])
    return slots


def _date(rng: Random) -> str:
    month, day, year = rng.choice(words.MONTHS), rng.choice(words.DAYS), rng.choice(words.YEARS)
    return f"{rng.choice(('it is', 'the date is'))} {month} {day} , {year} ."
