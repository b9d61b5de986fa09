"""In which language is this answer? A library's guess, held to a few languages and mended for short texts.

py3langid looks at byte n-grams: sure of a sentence, a coin toss on two words ("el gato" reads as Italian to it). So
Spanish function words and signs decide between the Romance languages where it stands close. This module refuses to
know why anyone asks. Invariant: a text without letters has no language ("").
"""

import re
from functools import cache
from typing import Any

# Few enough that a short English answer is not taken for Norwegian or Latin, wide enough to tell Spanish from its kin.
LANGUAGES = ("de", "en", "es", "fr", "it", "pt")
_ROMANCE = ("es", "fr", "it", "pt")
# Words that Spanish has and English, Italian, French, Portuguese do not, or hardly.
_SPANISH = frozenset(
    "el los las una unos unas es está están estoy eres muy pero y del al hola gracias sí puedo puedes usted ustedes"
    " cómo qué más también aquí amigo amiga claro buenos buenas días hay son soy tiene tienes hacer hace quiero"
    " mi tu yo nosotros hoy mañana siempre cuando donde dónde porque".split()
)
_SIGNS = re.compile(r"[¿¡ñ]", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+")
_ENOUGH_WORDS = 8
_CLOSE = 25.0
"""Log-likelihood by which Spanish may trail another Romance language and still win through its function words."""


def language(text: str) -> str:
    """The language of a text: one of `LANGUAGES`, or "" if it cannot be told."""
    words = _WORDS.findall(text.lower())
    if not words:
        return ""
    ranked: list[tuple[str, float]] = _identifier().rank(text.lower())
    best, likelihood = ranked[0][0], dict(ranked)
    marks = sum(w in _SPANISH for w in words) + 2 * len(_SIGNS.findall(text))
    if best == "es":
        # Distinct words: "Ahoy, matey! Ahoy, matey! ..." is a loop of three, and reads as Spanish to the library.
        return "es" if marks or len(set(words)) >= _ENOUGH_WORDS else ""
    close = likelihood[best] - likelihood["es"] <= _CLOSE
    if close and (best in _ROMANCE or len(words) < 4) and marks * 4 >= len(words):
        return "es"
    return best


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(list(LANGUAGES))
    return identifier
