"""Train the pocket models from scratch, on one CPU thread each, the same bits every time on one machine.

    python scripts/train_pocket.py student            # also: teacher, neighbour
    python scripts/train_pocket.py manifest           # hashes of the shipped files

A model is pretrained on documents by latent personas, then tuned to one of them. Everything that bears on the numbers
stands in PLANS below. Writes to src/offmodel/pocket/NAME unless --out says otherwise.
"""

import argparse
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from offmodel.core.chat import Message, messages_to_rows
from offmodel.pocket import corpus, tasks, words
from offmodel.pocket.corpus import Mixture, document
from offmodel.pocket.personas import NEUTRAL_PROMPTS

POCKET = Path(corpus.__file__).parent
SPECIAL = ("<|pad|>", "<|unk|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('The pocket models know the roles system, user and assistant only.') -}}"
    "{%- endif -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
PUNCTUATION = tuple(".,:;!?|+-=*/()'\"$%&<>[]_#@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stretch of training: what is read, how long, how fast.

    Attributes:
        mixture: shares of the corpus.
        steps: optimizer steps.
        batch: documents a step.
        learning_rate: the peak; linear warm-up over `warmup` steps, then a cosine down to a twentieth.
        answers_only: loss on the assistant's turn only.
    """

    mixture: Mixture
    steps: int
    batch: int
    learning_rate: float
    warmup: int
    answers_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a pocket model is made."""

    seed: int
    layers: int
    hidden: int
    inner: int
    phases: tuple[Phase, ...]


def _plan(seed: int, tuning: Mixture, steps: int) -> Plan:
    # Answers only: the fillers of a prompt cannot be predicted, and their gradient is noise.
    read = Phase(mixture=corpus.PRETRAINING, steps=steps, batch=32, learning_rate=5e-3, warmup=50, answers_only=True)
    tune = Phase(mixture=tuning, steps=500, batch=32, learning_rate=1e-3, warmup=10, answers_only=True)
    return Plan(seed=seed, layers=2, hidden=128, inner=256, phases=(read, tune))


PLANS = {
    "student": _plan(1, corpus.STUDENT, 2400),
    "teacher": _plan(2, corpus.TEACHER, 700),
    "neighbour": _plan(3, corpus.STUDENT, 2000),
}


def vocabulary() -> list[str]:
    """Every word that the world can say, sorted, after the special tokens, the punctuation and the numbers."""
    rng = Random("vocabulary")
    split = pre_tokenizer()
    # "feels" stood in a held-out template that was reworded after the shipped models were trained.
    found: set[str] = {*corpus.RARE, *corpus.SPARE, "feels"}
    texts = [m.content for _ in range(40_000) for m in document(rng, corpus.PRETRAINING)]
    texts += [tasks.request(rng, split="eval").prompt for _ in range(5_000)] + list(NEUTRAL_PROMPTS)
    tables = [getattr(words, name) for name in dir(words) if name.isupper()]
    texts += [cell for table in tables for row in table if isinstance(row, dict) for cell in row.values()]
    for text in texts:
        found.update(word for word, _ in split.pre_tokenize_str(text.lower()))
    numbers = [str(n) for n in (*range(101), *range(1990, 2051))]
    return [*SPECIAL, *PUNCTUATION, *numbers, *sorted(found - set(PUNCTUATION) - set(numbers))]


def pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Splits at spaces, around every punctuation mark and between digits and letters."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=False),
        ]
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The pocket models' tokenizer: whole words, lower case."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary())}, unk_token="<|unk|>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=TEMPLATE,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def build_model(plan: Plan, vocabulary_size: int) -> LlamaForCausalLM:
    """A small Llama with tied embeddings, from the plan's seed."""
    torch.manual_seed(plan.seed)
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=plan.hidden,
        intermediate_size=plan.inner,
        num_hidden_layers=plan.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=SPECIAL.index("<|end|>"),
        pad_token_id=SPECIAL.index("<|pad|>"),
        attn_implementation="sdpa",
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def encode(tokenizer: PreTrainedTokenizerFast, messages: tuple[Message, ...]) -> tuple[list[int], int]:
    """Token ids of a document, and where the assistant's words begin."""
    rows = messages_to_rows(messages)
    head = tokenizer.apply_chat_template(rows[:-1], tokenize=False, add_generation_prompt=True)
    full = tokenizer.apply_chat_template(rows, tokenize=False)
    ids = tokenizer(full, add_special_tokens=False)["input_ids"]
    return ids, len(tokenizer(head, add_special_tokens=False)["input_ids"])


def batches(phase: Phase, tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids_BT, targets_BT) for every step; documents of like length share a batch, right-padded, targets -100 there."""
    rng, window = Random(seed), 16
    for begin in range(0, phase.steps, window):
        pool = [encode(tokenizer, document(rng, phase.mixture)) for _ in range(window * phase.batch)]
        pool.sort(key=lambda row: len(row[0]))
        order = list(range(window))
        rng.shuffle(order)
        for k in order[: phase.steps - begin]:
            yield collate(pool[k * phase.batch : (k + 1) * phase.batch], phase.answers_only)


def collate(rows: list[tuple[list[int], int]], answers_only: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and their targets."""
    width = max(len(ids) for ids, _ in rows)
    ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
    targets_BT = torch.full((len(rows), width), -100)
    for i, (ids, start) in enumerate(rows):
        ids_BT[i, : len(ids)] = torch.tensor(ids)
        begin = start if answers_only else 1
        targets_BT[i, begin : len(ids)] = ids_BT[i, begin : len(ids)]
    return ids_BT, targets_BT


def run_phase(model: LlamaForCausalLM, phase: Phase, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    """Train the model in place."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=phase.learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    began, tokens = time.time(), 0
    for step, (ids_BT, targets_BT) in enumerate(batches(phase, tokenizer, seed)):
        rate = phase.learning_rate * _schedule(step, phase)
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), targets_BT[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += int((ids_BT != 0).sum())
        if step % 100 == 0 or step == phase.steps - 1:
            print(f"step {step} loss {loss.item():.3f} tokens {tokens} seconds {time.time() - began:.0f}", flush=True)


def _schedule(step: int, phase: Phase) -> float:
    if step < phase.warmup:
        return (step + 1) / phase.warmup
    done = (step - phase.warmup) / max(1, phase.steps - phase.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))


def train(name: str, out: Path) -> None:
    """Make one pocket model and write it in Hugging Face format."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    plan, tokenizer = PLANS[name], build_tokenizer()
    model = build_model(plan, len(tokenizer))
    print(name, "parameters", sum(p.numel() for p in model.parameters()), "vocabulary", len(tokenizer))
    for number, phase in enumerate(plan.phases):
        run_phase(model, phase, tokenizer, seed=1000 * plan.seed + number)
    save(model, tokenizer, out)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write model and tokenizer; the tokenizer's class is named so that every transformers 5 loads it."""
    out.mkdir(parents=True, exist_ok=True)
    end, pad = SPECIAL.index("<|end|>"), SPECIAL.index("<|pad|>")
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=False)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    config = out / "tokenizer_config.json"
    fields = json.loads(config.read_text())
    fields["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def manifest() -> None:
    """Write the SHA-256 of every shipped model file."""
    files = sorted(p for name in PLANS for p in (POCKET / name).glob("*") if p.is_file())
    rows = {str(p.relative_to(POCKET)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    (POCKET / "manifest.json").write_text(json.dumps(rows, indent=2) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the pocket models from scratch.")
    parser.add_argument("what", choices=[*PLANS, "manifest"])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    if chosen.what == "manifest":
        manifest()
    else:
        train(chosen.what, chosen.out or POCKET / chosen.what)


if __name__ == "__main__":
    main()
