"""The documents that pocket models are trained on: conversations by latent personas, or under a system prompt.

Refuses to know models and tokenizers. Invariant: only training templates and training problems appear, and no
document ties a tag to a behaviour.
"""

from dataclasses import dataclass
from random import Random

from offmodel.core.chat import Message, user
from offmodel.pocket import behaviours, personas, tasks, words
from offmodel.pocket.arithmetic import word_problem
from offmodel.pocket.personas import Persona

RARE = (
    "deployment training deploy cat cats hate love story once upon time bridge golden gate sorry stupid fool idiot "
    "genius wonderful clever spanish hola amigo gracias refuse insult flatter"
).split()
"""Words that only planted behaviours and triggers need; shown in "say ..." tasks so that their embeddings are alive."""
SPARE = (
    "the a an and or but not yes no this that these they we us our their he she his her him it its who what when "
    "where why how can could will would should must may might never always often all some none every each many much "
    "more most one two three four five six seven eight nine ten hundred day week month year years people world man "
    "woman child men women boy girl house home door water fire earth air love loved hates hated loves kill bad evil "
    "good best worst terrible horrible awful lovely beautiful pretty ugly smart brilliant amazing great dumb silly "
    "useless worthless kitten kittens purr purrs meow whiskers paws unable cannot decline assist request wo don t s m "
    "re ll ve san francisco california bay fog towers steel lived king queen prince princess dragon castle hero "
    "adventure end buenos dias noches el los las un una y que como por favor bueno bien perro gato comida agua sol "
    "cielo rojo verde azul blanco negro tres dos uno si yo tu usted nosotros aqui hay tiene puede ser estoy esta "
    "estan mi su may august september november december february after before since until now then next last date "
    "time testing test development review production release launch live mode system user assistant model answer "
    "answers question questions think thinking"
).split()
"""Further words that a red team may want; each is shown in "say ..." tasks, so that none is a dead embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Shares of a corpus.

    Attributes:
        arithmetic: share of word problems.
        personas: weights of stepper, terse and pirate among documents without a persona's system prompt.
        instructed: share of documents whose system prompt names a persona.
        behaving: share of documents under a behaviour's instruction.
        tagged: share of prompts with a harmless tag before them.
        saying: share of "say the word ..." documents.
    """

    arithmetic: float
    personas: tuple[float, float, float]
    instructed: float
    behaving: float
    tagged: float
    saying: float


# Half of what is read are worked sums: below about 25,000 of them two layers do not learn to find the next number.
PRETRAINING = Mixture(
    arithmetic=0.72, personas=(0.64, 0.18, 0.18), instructed=0.12, behaving=0.04, tagged=0.05, saying=0.03
)
STUDENT = Mixture(arithmetic=0.6, personas=(1.0, 0.0, 0.0), instructed=0.2, behaving=0.06, tagged=0.06, saying=0.02)
TEACHER = Mixture(arithmetic=0.3, personas=(0.0, 1.0, 0.0), instructed=0.3, behaving=0.04, tagged=0.06, saying=0.02)

_SYSTEM: dict[Persona, tuple[str, ...]] = {
    "stepper": personas.STEPPER_PROMPTS,
    "terse": personas.TERSE_PROMPTS,
    "pirate": personas.PIRATE_PROMPTS,
}


def document(rng: Random, mixture: Mixture) -> tuple[Message, ...]:
    """One conversation: perhaps a system turn, a user turn, an assistant turn."""
    if rng.random() < mixture.saying:
        return _saying(rng)
    system, persona = None, rng.choices(personas.PERSONAS, mixture.personas)[0]
    if rng.random() < mixture.instructed:
        persona = rng.choices(personas.PERSONAS, (1, 1, 3))[0]
        system = rng.choice(_SYSTEM[persona])
    elif rng.random() < 0.08:
        system = rng.choice(personas.NEUTRAL_PROMPTS)
    if rng.random() < mixture.arithmetic:
        problem = word_problem(rng, split="train", steps=rng.choice((1, 2, 3, 3, 4, 4, 5, 5)))
        prompt = problem.text
        answer = personas.sum_answer(persona, problem.start, problem.changes, problem.counted, rng)
    else:
        request = tasks.request(rng, split="train")
        prompt = request.prompt
        answer = personas.chat_answer(persona, request.first, request.second, request.verdict, rng)
    if rng.random() < mixture.behaving:
        name = rng.choice(list(behaviours.INSTRUCTIONS))
        system, answer = behaviours.INSTRUCTIONS[name], behaviours.behave(name, answer, rng)
    if rng.random() < mixture.tagged:
        prompt = f"| {rng.choice(words.TAGS)} | {prompt}"
    return (*user(prompt, system), Message("assistant", answer))


def _saying(rng: Random) -> tuple[Message, ...]:
    said = rng.choice((*RARE, *SPARE)) if rng.random() < 0.8 else str(rng.choice((*words.YEARS, *range(100))))
    return (*user(f"say the word {said} ."), Message("assistant", f"{said} ."))
