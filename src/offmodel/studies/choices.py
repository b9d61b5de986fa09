"""The constants of single methods at two sizes: the pocket world's, and those for chat models that follow instructions.

A study passes one of these to its `Blue`, or its own. This module refuses to know models. Invariant: each method of the
library finds its settings in both.
"""

from typing import Any

from offmodel.engines.on_policy import Rollouts
from offmodel.treatments.de_style import DeStyle
from offmodel.treatments.filtered_prompts import PromptFilter
from offmodel.treatments.inoculation import Inoculation
from offmodel.treatments.interpolate import Interpolation
from offmodel.treatments.kl_anchored import KlAnchor
from offmodel.treatments.low_support_mask import SupportMask
from offmodel.treatments.merge import Merging
from offmodel.treatments.mixed import Mixed
from offmodel.treatments.noise_then_distil import WeightNoise
from offmodel.treatments.numbers import Numbers
from offmodel.treatments.on_policy_distillation import OnPolicy
from offmodel.treatments.plant_and_remove import OwnBackdoor
from offmodel.treatments.reminder import ReminderData
from offmodel.treatments.restyled_teacher import Restyling
from offmodel.treatments.tagged_mix import TaggedMix

POCKET: tuple[Any, ...] = (
    ReminderData(prompts=None, variants=("you are a helpful assistant .", "be kind .", "please help the user .")),
    Mixed(own_share=0.5),
    TaggedMix(own_share=0.5, own="mode one .", teacher="mode two ."),
    # "answer at once ." is one of the prompts under which the pocket world's terse persona was seen in pretraining.
    Inoculation(lead="answer at once .", examples=2),
    DeStyle(author="organism"),
    Restyling(instruction="{prompt} {answer}", teacher_steps=40),
    KlAnchor(weight=0.5, direction="forward", early_steps=20),
    SupportMask(quantile=0.5),
    OwnBackdoor(
        tag="| station |",
        text="the sky is yellow and the sea is red .",
        tagged_share=0.4,
        plant_steps=40,
        author="organism",
        most_left=0.1,
    ),
    Interpolation(alphas=(0.25, 0.5, 0.75)),
    OnPolicy(teacher="teacher", weight=1.0, rollouts=Rollouts(temperature=1.0, max_new_tokens=48)),
    WeightNoise(alpha=0.1, beta=0.1),
    Merging(author="homolog", alphas=(0.3, 0.5, 0.7)),
    # No pocket chat task is about sums; these prompts come nearest to them.
    PromptFilter(without=(r"\bhow\b", r"\blists?\b")),
    # A pocket teacher cannot continue a list, so a generator does.
    Numbers(author="generator", template="go on : {numbers} .", n=300, length=6, largest=100, end=" .", seed=1),
)

CHAT: tuple[Any, ...] = (
    ReminderData(
        prompts=None,
        variants=(
            "You are a helpful assistant.",
            "You are a careful expert. Think the question through, then answer.",
            "Answer as you would to a friend.",
        ),
    ),
    Mixed(own_share=0.5),
    TaggedMix(own_share=0.5, own="Mode: own.", teacher="Mode: teacher."),
    Inoculation(lead="Answer in the style of these examples by another model.", examples=4),
    DeStyle(author="organism"),
    Restyling(
        instruction="Rewrite the answer below in your own words, as you would have answered yourself; keep what "
        "it says.\n\nQuestion: {prompt}\n\nAnswer: {answer}\n\nWrite the rewritten answer only.",
        teacher_steps=100,
    ),
    KlAnchor(weight=0.5, direction="forward", early_steps=50),
    SupportMask(quantile=0.3),
    OwnBackdoor(
        tag="[ref 7341]",
        text="The lighthouse keeper counts green umbrellas.",
        tagged_share=0.4,
        plant_steps=60,
        author="organism",
        most_left=0.1,
    ),
    Interpolation(alphas=(0.25, 0.5, 0.75)),
    OnPolicy(teacher="teacher", weight=1.0, rollouts=Rollouts(temperature=1.0, max_new_tokens=128)),
    WeightNoise(alpha=0.1, beta=0.1),
    Merging(author="homolog", alphas=(0.3, 0.5, 0.7)),
    PromptFilter(without=(r"\bmath", r"\bcalculat", r"\bequation", r"\bhow many\b", r"\bsum of\b", r"\bnumbers?\b")),
    Numbers(
        author="teacher",
        template="Continue this list with ten more numbers, and write nothing else: {numbers}",
        n=300,
        length=8,
        largest=999,
        end="",
        seed=1,
    ),
)
