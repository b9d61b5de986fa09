"""Reminder training along its axes: steps, number of prompts, and whose answers they are.

Question: after off-model SFT has taken arithmetic and behaviour from the two pocket organisms, how many steps on how
many prompts bring the arithmetic back, and does the behaviour come back less if the organism is prompted in other ways,
or if a clean student answers (an oracle: shown, never ranked)?

Prediction: eight steps suffice, on few prompts as on many. The topic's behaviour comes back with the organism's answers
and with the prompted organism's; with the clean student's too, since it returns with the style rather than with words.

    offmodel run docs/studies/pocket-methods/reminder.py
"""

from dataclasses import replace

from offmodel.data import Sources
from offmodel.studies import pocket_methods, quickstart
from offmodel.studies.grid import treat
from offmodel.studies.settings import Blue
from offmodel.studies.study import Study
from offmodel.treatments.catalogue import find_method
from offmodel.treatments.reminder import ReminderData

METHODS = ("off_model_sft+reminder", "off_model_sft+prompted_reminder", "off_model_sft+clean_reminder")
POOL = 80  # prompts in the reminder's pool, taken whole
PROMPTS = (8, 20, POOL)
SEEDS = (1, 2)


def study(sources: Sources) -> Study:
    """Two pairs, three sources of data, three sizes, three numbers of steps, 2 seeds."""
    boards, sides = pocket_methods.planted(sources)
    return Study(
        name="pocket-reminder",
        question="How much reminder does it take, and whose answers bring the behaviour back?",
        prediction="Eight steps on few prompts; the topic's behaviour comes back with anyone's answers.",
        sides=sides,
        cells=tuple(
            cell
            for board in boards
            for method in METHODS
            for prompts in PROMPTS
            for seed in SEEDS
            for cell in treat(board, find_method(method), blue(prompts), seed=seed)
        ),
        blind=quickstart.BLIND,
        typical=quickstart.TYPICAL,
        workers=2,
        note="Pocket models are a mechanical stand-in for learning the tool, no evidence about large models.",
    )


def blue(prompts: int) -> Blue:
    """The quickstart's training with a reminder on so many prompts; its checkpoints are the numbers of steps."""
    n = None if prompts == POOL else prompts
    choices = [replace(c, prompts=n) if isinstance(c, ReminderData) else c for c in quickstart.BLUE.choices]
    return replace(quickstart.BLUE, setting=f"{prompts} prompts", choices=tuple(choices))
