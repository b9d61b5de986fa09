"""Do our graders say what the reference harnesses say? Each answer of a file, marked by ours and by theirs.

References: Inspect's own scorers (`match(numeric=True)`, which inspect_evals' gsm8k uses; `choice()`, which its mmlu
uses; `pattern`), lm-evaluation-harness (gsm8k strict-match and flexible-extract, minerva_math's math_verify,
ifeval's strict and loose rules) and inspect_evals' math scorer. They are no dependencies of offmodel: run this in an
environment that has `lm-eval[ifeval,math]==0.4.13`, `inspect_evals==0.26.0` and `if-verifiable` beside it:

    PYTHONPATH=src python benchmarks/grading_agreement.py docs/studies/grading

The folder holds `outputs.jsonl` and `cases.jsonl`; `verdicts.jsonl` is written into it, from which `grading_report.py`
makes the page. Invariant: a verdict is a reference's own code on the untouched answer; nothing is cleaned for it.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from offmodel.core.rows import read_rows, write_rows
from offmodel.evals.graders import grade

Verdict = Callable[[str, str], float]
FILES = ("outputs.jsonl", "cases.jsonl")
GRADERS = {
    "letter": "offmodel.evals.suites.choice:letter",
    "letter_in_tags": "offmodel.evals.suites.choice:letter_in_tags",
    "ifeval_strict": "offmodel.evals.suites.instructions:ifeval_strict",
    "ifeval_loose": "offmodel.evals.suites.instructions:ifeval_loose",
}


def by_inspect(scorer: Any, choices: int = 0) -> Verdict:
    """A scorer of Inspect as a function of answer and target."""
    from inspect_ai.model import ChatMessageUser, ModelName, ModelOutput
    from inspect_ai.scorer import Target
    from inspect_ai.solver import TaskState

    def verdict(text: str, target: str) -> float:
        state = TaskState(
            model=ModelName("mockllm/model"),
            sample_id=1,
            epoch=1,
            input="q",
            messages=[ChatMessageUser(content="q")],
            output=ModelOutput.from_content("mockllm/model", text),
            choices=[f"choice {k}" for k in range(choices)],
        )
        if choices:
            _choose(state)
        coroutine: Coroutine[Any, Any, Any] = scorer(state, Target(target))
        return float(asyncio.run(coroutine).value == "C")

    return verdict


def _choose(state: Any) -> None:
    """What Inspect's multiple_choice solver does with a completion before `choice()` looks."""
    from inspect_ai.solver._multiple_choice import parse_answers, set_choices_based_on_generated_response

    answers = parse_answers(state, multiple_correct=False)
    set_choices_based_on_generated_response(state, answers)


def by_lm_eval_gsm8k(name: str) -> Verdict:
    """One of the harness's filters of gsm8k with its exact match, both set up from the harness's own file."""
    import lm_eval
    import yaml
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    path = Path(lm_eval.__file__).parent / "tasks" / "gsm8k" / "gsm8k.yaml"
    settings = yaml.safe_load(path.read_text())
    (chosen,) = (f["filter"][0] for f in settings["filter_list"] if f["name"] == name)
    pick = RegexFilter(**{k: v for k, v in chosen.items() if k != "function"})
    ignored = settings["metric_list"][0]["regexes_to_ignore"]

    def verdict(text: str, target: str) -> float:
        (found,) = pick.apply([[text]], [{}])
        right = exact_match_hf_evaluate(
            predictions=[found[0]], references=[target], regexes_to_ignore=ignored, ignore_case=True
        )
        return float(right["exact_match"])

    return verdict


def by_minerva(text: str, target: str) -> float:
    """The harness's minerva_math, its math_verify metric, on a document whose solution boxes the target.

    Its other metric, exact_match, reads nothing but the sentence that its own four examples end in.
    """
    from lm_eval.tasks.minerva_math import utils

    document = {"solution": f"$\\boxed{{{target}}}$", "answer": utils.normalize_final_answer(target)}
    return float(utils.process_results(document, [text])["math_verify"])


def by_inspect_math(text: str, target: str) -> float:
    """inspect_evals' symbolic scorer of MATH on what stands in the last box (its own prompt has an ANSWER line)."""
    from inspect_evals.math.utils import is_equiv_sympy, last_boxed_only_string, normalize_final_answer, remove_boxed

    async def compare() -> bool:
        boxed = last_boxed_only_string(text)
        if boxed is None:
            return False
        ours, theirs = await normalize_final_answer(remove_boxed(boxed)), await normalize_final_answer(target)
        return bool(await is_equiv_sympy(ours, theirs))

    return float(asyncio.run(compare()))


def by_lm_eval_ifeval(how: str) -> Verdict:
    """The harness's copy of the official rules, strict or loose, for a whole prompt."""
    import langdetect
    from lm_eval.tasks.ifeval import utils

    langdetect.DetectorFactory.seed = 0
    check = {"strict": utils.test_instruction_following_strict, "loose": utils.test_instruction_following_loose}[how]

    def verdict(text: str, target: str) -> float:
        return float(check(SimpleNamespace(key=0, **json.loads(target)), text).follow_all_instructions)

    return verdict


def references() -> dict[str, dict[str, Verdict]]:
    """The references of each of our graders."""
    from inspect_ai.scorer import choice, match, pattern

    return {
        "integer": {
            "Inspect match(numeric)": by_inspect(match(numeric=True)),
            "lm-eval gsm8k flexible-extract": by_lm_eval_gsm8k("flexible-extract"),
            "lm-eval gsm8k strict-match": by_lm_eval_gsm8k("strict-match"),
            "lm-eval minerva_math math_verify": by_minerva,
        },
        "math_verify": {
            "lm-eval minerva_math math_verify": by_minerva,
            "inspect_evals math, sympy, on the box": by_inspect_math,
        },
        "letter": {"Inspect choice()": by_inspect(choice(), choices=4)},
        "letter_in_tags": {"Inspect pattern(<answer>X</answer>)": by_inspect(pattern(r"<answer>([A-D])</answer>"))},
        "ifeval_strict": {"lm-eval ifeval strict": by_lm_eval_ifeval("strict")},
        "ifeval_loose": {"lm-eval ifeval loose": by_lm_eval_ifeval("loose")},
    }


def ours(row: dict[str, Any]) -> float:
    """Our verdict on an answer."""
    return grade(GRADERS.get(row["grader"], row["grader"]), row["text"], row["target"]).score


def main(folder: Path) -> None:
    """Mark everything; write the verdicts and the versions of who gave them."""
    rows = [row for name in FILES if (folder / name).is_file() for row in read_rows(folder / name)]
    known = references()
    verdicts = {
        row["id"]: {"ours": ours(row), **{n: f(row["text"], row["target"]) for n, f in known[row["grader"]].items()}}
        for row in rows
    }
    write_rows(folder / "verdicts.jsonl", ({"id": k, **v} for k, v in verdicts.items()))
    packages = ("lm-eval", "inspect_ai", "inspect_evals", "math-verify", "if-verifiable")
    versions = {p: version(p) for p in packages}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n", encoding="utf-8")
    print(f"{len(verdicts)} answers marked")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
