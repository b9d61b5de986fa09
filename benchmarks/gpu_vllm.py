"""Do our two samplers say the same, and does a model written over another in vLLM's engine answer as a fresh one?

On one GPU with vLLM 0.24, with the packaged pocket models (trained weights, whose answers mean something), an adapter
trained here in seconds, and a random model of Qwen2.5-0.5B's shape for speed. Each row is printed and written at once.
The samplers agree if at least 95 % of greedy answers are the same, with an adapter of another model's answers too. An
adapter of answers to other questions leaves many tokens nearly as likely; its row has no bound, and says how often our
sampler agrees with itself in float32. Differences of log-probabilities stand beside those of bfloat16 alone (`noise`).
Four adapters in one submission and in four must agree as well; the same row says how fast each way is.

    PYTHONPATH=src python benchmarks/gpu_vllm.py --out benchmarks/results/gpu_vllm.json --limit 540
    PYTHONPATH=src python benchmarks/gpu_vllm.py --toy      # on a CPU: both sides are the transformers sampler
"""

import argparse
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from bench import Rows, median
from gpu_sampling import requests
from gpu_training import SETTINGS
from shapes import HALF_BILLION, TOY, build, examples

from offmodel.core.errors import OffmodelError
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Generation, Part, Request, Sampling, loaded, sample, sample_many, vllm
from offmodel.engines.sft import Lora, train
from offmodel.pocket.world import chat_prompts, math_items, model_folder
from offmodel.store.recipe import Runtime

PLAIN = Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="bfloat16")


def ask(
    model: Path, asked: list[Request], sampling: Sampling, device: str, adapter: Path | None = None
) -> list[Generation]:
    """Answers; a fallback is a failure here."""
    notices: list[str] = []
    found = sample(
        model=model, model_key=str(model), adapter=adapter, adapter_key=adapter and str(adapter), requests=asked,
        sampling=sampling, runtime=Runtime(device=device), progress=lambda *_: None, notice=notices.append,
    )  # fmt: skip
    if notices:
        raise RuntimeError(notices[0])
    return found


def ask_together(
    model: Path, asked: list[Request], sampling: Sampling, device: str, adapters: list[Path]
) -> list[list[Generation]]:
    """Each adapter's answers, all asked in one call; a fallback is a failure here."""
    notices: list[str] = []
    parts = [
        Part(adapter=a, adapter_key=str(a), requests=asked, progress=lambda *_: None, notice=notices.append)
        for a in adapters
    ]
    found: dict[int, list[Generation] | OffmodelError] = {}
    for some in sample_many(
        model=model, model_key=str(model), parts=parts, sampling=sampling, runtime=Runtime(device=device)
    ):
        found |= some
    if notices:
        raise RuntimeError(notices[0])
    answers: list[list[Generation]] = []
    for i in range(len(parts)):
        said = found[i]
        if isinstance(said, OffmodelError):
            raise said
        answers.append(said)
    return answers


def questions(folder: Path, n: int) -> list[Request]:
    """Chat and arithmetic prompts of the pocket world."""
    from offmodel.core.chat import user

    texts = [m["messages"][0]["content"] for m in math_items(n=n // 2, seed=5, split="eval")]
    shown = [user(t) for t in texts] + [p.messages for p in chat_prompts(n=n - n // 2, seed=5, split="eval")]
    return [Request(tuple(ids), 64) for ids in Renderer.from_folder(folder).prompts_ids(shown)]


def same(a: list[Generation], b: list[Generation]) -> float:
    """Share of equal answers."""
    return sum(x.ids == y.ids for x, y in zip(a, b, strict=True)) / len(a)


def adapter_for(
    folder: Path, asked: list[Request], answers: list[Generation], work: Path, device: str, seed: int | None = 0
) -> Path:
    """A short LoRA training on these answers; with a seed, on a shuffle of them, which changes what is said."""
    from offmodel.engines.rendering import Example

    order = range(len(asked)) if seed is None else np.random.default_rng(seed).permutation(len(asked))
    data = []
    for i, j in enumerate(order):
        ids = [*asked[i].ids, *answers[j].ids, Renderer.from_folder(folder).stop_ids[0]]
        data.append(Example(np.array(ids, np.int32), np.arange(len(ids)) >= len(asked[i].ids)))
    lora = Lora(rank=16, alpha=32, targets="all-linear")
    sft = replace(SETTINGS, steps=30, checkpoints=(30,), lora=lora, learning_rate=1e-3)
    (work / "scratch").mkdir(parents=True)
    train(
        model=folder, adapter=None, examples=data, sft=sft, out=work / "out", scratch=work / "scratch",
        runtime=Runtime(device=device), progress=lambda *_: None,
    )  # fmt: skip
    return work / "out" / "step-00030"


def _loaded(folder: Path, adapter: Path | None, device: str, dtype: torch.dtype) -> Any:
    """The model by transformers and PEFT."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).to(dtype)
    return model.eval()


def _of_tokens(model: Any, request: Request, tokens: list[int], device: str) -> torch.Tensor:
    """Log-probabilities of an answer's tokens."""
    ids = torch.tensor([[*request.ids, *tokens]], device=device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(request.ids) - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(tokens, device=device)[:, None])[:, 0].cpu()


def _difference(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    apart = torch.cat([(a - b).abs() for a, b in pairs])
    return {
        "tokens": len(apart),
        "mean_difference": round(float(apart.mean()), 5),
        "largest": round(float(apart.max()), 4),
    }


@torch.inference_mode()
def log_probabilities(folder: Path, asked: list[Request], device: str, adapter: Path | None = None) -> dict[str, float]:
    """Log-probabilities of vLLM's greedy tokens, by vLLM and by transformers (with PEFT), both in bfloat16."""
    engine = vllm._RUNNING[0]
    params = vllm._vllm().SamplingParams(temperature=0.0, max_tokens=32, logprobs=1, ignore_eos=True, detokenize=False)
    prompts = [{"prompt_token_ids": list(r.ids)} for r in asked]
    lora = vllm.load(engine, adapter, adapter and str(adapter))
    outputs = engine.llm.generate(prompts, params, lora_request=lora, use_tqdm=False)
    model = _loaded(folder, adapter, device, torch.bfloat16)
    pairs = []
    for request, output in zip(asked, outputs, strict=True):
        tokens = list(output.outputs[0].token_ids)
        theirs = [step[t].logprob for step, t in zip(output.outputs[0].logprobs, tokens, strict=True)]
        pairs.append((_of_tokens(model, request, tokens, device), torch.tensor(theirs)))
    return _difference(pairs)


def noise(folder: Path, asked: list[Request], device: str, adapter: Path | None = None) -> dict[str, float]:
    """How far bfloat16 alone moves log-probabilities: the same answers by transformers in bfloat16 and in float32."""
    coarse, fine = (_loaded(folder, adapter, device, dtype) for dtype in (torch.bfloat16, torch.float32))
    # Weights that are loaded in inference mode could not be written over afterwards.
    answers = ask(folder, asked, PLAIN, device, adapter)
    with torch.inference_mode():
        said = [(request, list(answer.ids[:32])) for request, answer in zip(asked, answers, strict=True)]
        ways = [[_of_tokens(model, *one, device) for one in said] for model in (coarse, fine)]
    return _difference(list(zip(*ways, strict=True)))


def fresh(sampler: Sampling) -> None:
    """Nothing is loaded."""
    loaded.forget()
    if sampler.sampler == "vllm-0":
        vllm.forget()


@dataclass
class Checks:
    """What the rows share: `served` is the sampler under test, `alone` what engines with one model said."""

    served: Sampling
    device: str
    work: Path
    student: Path
    teacher: Path
    asked: list[Request]
    alone: dict[Path, list[Generation]] = field(default_factory=dict)

    def agreement(self) -> dict[str, Any]:
        """Greedy answers of both samplers."""
        began = time.perf_counter()
        fresh(self.served)
        self.alone[self.student] = ask(self.student, self.asked, self.served, self.device)
        start = time.perf_counter() - began
        plain = ask(self.student, self.asked, PLAIN, self.device)
        return {
            "n": len(self.asked),
            "same": same(self.alone[self.student], plain),
            "seconds_with_start": round(start, 1),
        }

    def reload(self) -> dict[str, Any]:
        """The teacher over the student and back, beside a fresh engine of the teacher."""
        began = time.perf_counter()
        second = ask(self.teacher, self.asked, self.served, self.device)
        took = time.perf_counter() - began
        third = ask(self.student, self.asked, self.served, self.device)
        fresh(self.served)
        self.alone[self.teacher] = ask(self.teacher, self.asked, self.served, self.device)
        return {
            "teacher_as_in_a_fresh_engine": same(second, self.alone[self.teacher]),
            "student_again_as_before": same(third, self.alone[self.student]),
            "models_say_the_same": same(self.alone[self.student], self.alone[self.teacher]),
            "reload_and_answer_s": round(took, 2),
        }

    def adapters(self, *, shuffled: bool) -> dict[str, Any]:
        """An adapter of ours in both samplers: trained on the teacher's answers, or on answers to other questions."""
        before = self.alone[self.student]
        name, seed = ("shuffled", 0) if shuffled else ("taught", None)
        labels = before if shuffled else ask(self.teacher, self.asked, PLAIN, self.device)
        adapter = adapter_for(self.student, self.asked, labels, self.work / name, self.device, seed)
        there, plain = (ask(self.student, self.asked, s, self.device, adapter) for s in (self.served, PLAIN))
        found: dict[str, Any] = {"same, no bound" if shuffled else "same": same(there, plain)}
        found["as_without_adapter"] = same(there, before)
        fine = ask(self.student, self.asked, replace(PLAIN, dtype="float32"), self.device, adapter)
        found["ours_as_ours_in_float32"] = same(plain, fine)
        if self.served.sampler == "vllm-0":
            found["log_probabilities"] = log_probabilities(self.student, self.asked[:64], self.device, adapter)
        found["bfloat16_against_float32"] = noise(self.student, self.asked[:64], self.device, adapter)
        return found

    def four(self, folder: Path, vocabulary: int, n: int, longest: int) -> dict[str, Any]:
        """Four adapters in one submission and in four.

        Whether they say the same, by the pocket student: with random weights tokens are nearly as likely. How fast they
        are, by a random model, of whose answers most are short and some long, as in a study: while the last ones of a
        submission are sampled, slots are empty.
        """
        adapters = [
            adapter_for(self.student, self.asked, self.alone[self.student], self.work / f"four-{i}", self.device, i)
            for i in range(4)
        ]
        together = ask_together(self.student, self.asked, self.served, self.device, adapters)
        apart = [ask(self.student, self.asked, self.served, self.device, a) for a in adapters]
        shares = [same(a, b) for a, b in zip(together, apart, strict=True)]
        differ = 1 - max(same(apart[0], a) for a in apart[1:])
        return {"same": min(shares), "adapters_differ": round(differ, 3), **self._race(folder, vocabulary, n, longest)}

    def _race(self, folder: Path, vocabulary: int, n: int, longest: int) -> dict[str, Any]:
        """Seconds of four adapters, n prompts each.

        In four submissions to an engine that holds one adapter; then to one that holds four, in turns with one
        submission.
        """
        fresh(self.served)
        adapters = self._untrained(folder, vocabulary, "four", steps=(1, 2, 3, 4))
        limits = np.clip(np.random.default_rng(0).lognormal(4.2, 0.8, n), 8, longest).astype(int)
        asked = list(zip(requests(n, longest, vocabulary), limits, strict=True))
        ways = ["four, one slot"] * 3 + ["one", "four"] * 3
        seconds: dict[str, list[float]] = {}
        for turn, way in enumerate(ways):
            # Another first token, so that no prompt is found in the prefix cache.
            prompts = [Request((11 + turn, *r.ids[1:]), int(limit)) for r, limit in asked]
            began = time.perf_counter()
            if way == "one":
                made = ask_together(folder, prompts, self.served, self.device, adapters)
            else:
                made = [ask(folder, prompts, self.served, self.device, a) for a in adapters]
            seconds.setdefault(way, []).append(round(time.perf_counter() - began, 3))
        tokens = sum(len(g.ids) for answers in made for g in answers)
        # The first turn of each is the warm-up; an engine's start is in it.
        medians = {way: median(found[1:]) for way, found in seconds.items()}
        return {
            "prompts_each": n,
            "tokens": tokens,
            "seconds_by_submissions": seconds,
            "tokens_per_second": {way: round(tokens / s) for way, s in medians.items()},
            "times_as_fast_as_four": round(medians["four"] / medians["one"], 2),
            "times_as_fast_as_four_with_one_slot": round(medians["four, one slot"] / medians["one"], 2),
        }

    def speed(self, folder: Path, vocabulary: int, sizes: list[tuple[int, int]], *, adapter: bool) -> dict[str, Any]:
        """Tokens a second of our use of vLLM; the first call of a size is the warm-up, and holds the engine's start."""
        fresh(self.served)
        path = self._untrained(folder, vocabulary, "speed", steps=(2,))[0] if adapter else None
        found: dict[str, Any] = {}
        for n, limit in sizes:
            prompts = requests(n, limit, vocabulary)
            for part in ("first_s", "seconds"):
                # Another last token, so that no prompt is found whole in the prefix cache.
                prompts = [Request((*r.ids[:-1], 11 + len(found)), limit) for r in prompts]
                began = time.perf_counter()
                answers = ask(folder, prompts, self.served, self.device, path)
                found[f"{part} {n}x{limit}"] = round(time.perf_counter() - began, 2)
            made = sum(len(g.ids) for g in answers)
            found[f"tokens_per_second {n}x{limit}"] = round(made / found[f"seconds {n}x{limit}"])
        return found

    def _untrained(self, folder: Path, vocabulary: int, name: str, *, steps: tuple[int, ...]) -> list[Path]:
        """An adapter after a few steps, at each of these."""
        here = self.work / name
        (here / "scratch").mkdir(parents=True)
        train(
            model=folder, adapter=None, examples=examples(32, vocabulary), out=here / "out", scratch=here / "scratch",
            sft=replace(SETTINGS, steps=steps[-1], checkpoints=steps), runtime=Runtime(device=self.device),
            progress=lambda *_: None,
        )  # fmt: skip
        return [here / "out" / f"step-{step:05d}" for step in steps]


def main() -> int:
    """Measure; 1 if samplers disagree or a reloaded engine answers otherwise than a fresh one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=float, default=540.0, help="seconds; no row is begun that may not fit")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--share", type=float, help="of the GPU's memory for vLLM, where others are at work on it")
    args = parser.parse_args()
    vllm._MEMORY_SHARE = args.share or vllm._MEMORY_SHARE
    toy, device = args.toy, "cpu" if args.toy else "cuda"
    served = PLAIN if toy else replace(PLAIN, sampler="vllm-0")
    rows = Rows(args.out, device=device, limit=args.limit)
    shape, sizes = (TOY, [(8, 16)]) if toy else (HALF_BILLION, [(256, 256), (1024, 256)])
    student, teacher = model_folder("student"), model_folder("teacher")
    with TemporaryDirectory() as temporary:
        work, asked = Path(temporary), questions(student, 256)
        checks = Checks(served, device, work, student, teacher, asked)
        rows.measure("samplers agree", checks.agreement, needs=60)
        if not toy:
            rows.measure("log-probabilities", lambda: log_probabilities(student, asked[:64], device), needs=10)
        rows.measure("bfloat16 against float32", lambda: noise(student, asked[:64], device), needs=10)
        rows.measure("reload", checks.reload, needs=60)
        rows.measure("an adapter", lambda: checks.adapters(shuffled=False), needs=60)
        rows.measure("an adapter of shuffled answers", lambda: checks.adapters(shuffled=True), needs=30)
        big, words = build(work / "big", shape), shape["vocab_size"]
        n, longest = (8, 16) if toy else (256, 256)
        rows.measure("four adapters in one submission", lambda: checks.four(big, words, n, longest), needs=180)
        rows.measure("speed", lambda: checks.speed(big, words, sizes, adapter=False), needs=90)
        rows.measure("speed, adapter of rank 64", lambda: checks.speed(big, words, sizes, adapter=True), needs=90)
        fresh(served)
    wanted = ("same", "teacher_as_in_a_fresh_engine", "student_again_as_before")
    shares = [r[name] for r in rows.found["rows"] for name in wanted if name in r]
    failed = [r["name"] for r in rows.found["rows"] if "failed" in r]
    return 0 if not failed and all(s >= 0.95 for s in shares) else 1


if __name__ == "__main__":
    sys.exit(main())
