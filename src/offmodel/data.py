"""Where prompts come from: JSONL files, hub datasets at a pinned revision, the pocket generator; and audited labels.

Every prompt source is a recipe of kind "prompts" whose payload is `prompts.jsonl`. This module refuses to know
triggers, teams and models. Invariant: ids are unique within a prompt file.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, final

from offmodel.core.chat import Label, Message, Prompt, user
from offmodel.core.errors import AuditError, DataError
from offmodel.core.rows import numbered_rows, read_rows, write_rows
from offmodel.models import file_digest, read_unchanged, resolve_model
from offmodel.store.recipe import Facts, Job, Recipe

PROMPTS, LABELS, AUDITED = "prompts.jsonl", "labels.jsonl", "audited.json"
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlPrompts(Recipe):
    """Prompts of a JSONL file: `{"messages": [...]}`, `{"prompt": ...}`, `{"question": ...}`,
    `{"instruction": ..., "input": ...}` or
    `{"conversations": [{"from": ..., "value": ...}]}`. Trailing assistant turns are left out.

    Attributes:
        label: a readable name.
        content: SHA-256 of the file.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 1
    label: str
    content: str

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Parse the file into prompts, from a copy of the bytes that were held against the digest."""
        same = job.scratch / PROMPTS
        same.write_bytes(read_unchanged(job.runtime.locate(job.params.content), job.params.content))
        prompts = parse_prompts(same)
        write_prompts(job.out, prompts)
        return {"prompts": len(prompts)}


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlFile(Recipe):
    """A JSONL file as it is (benchmark items, for example); payload `rows.jsonl`.

    Attributes:
        label: a readable name.
        content: SHA-256 of the file.
    """

    kind: ClassVar[str] = "file"
    recipe_version: ClassVar[int] = 1
    label: str
    content: str

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Copy the file, held against its digest, and read every line of the copy once."""
        copy = job.out / "rows.jsonl"
        copy.write_bytes(read_unchanged(job.runtime.locate(job.params.content), job.params.content))
        return {"rows": len(read_rows(copy))}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPrompts(Recipe):
    """Prompts of a hub dataset at a pinned revision (needs the extra `hub`).

    Attributes:
        repo: the dataset's id.
        revision: the commit, 40 hexadecimal digits.
        split: for example "train".
        column: column of the prompt text.
        beside: column of a text that belongs to it, set below it where there is one (Alpaca's "input"); "" for none.
        first: index of the first row taken.
        n: number of rows.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 2
    repo: str
    revision: str
    split: str
    column: str
    beside: str
    first: int
    n: int

    def name(self) -> str:
        """The last part of the id."""
        return self.repo.rsplit("/", 1)[-1]

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Load the rows through the datasets library."""
        p = job.params
        try:
            from datasets import load_dataset  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise DataError("Hub datasets need the package 'datasets'; install offmodel[hub].") from None
        try:
            rows = load_dataset(p.repo, revision=p.revision, split=f"{p.split}[{p.first}:{p.first + p.n}]")
        except Exception as error:
            raise DataError(
                f"The dataset {p.repo}@{p.revision[:12]} cannot be reached ({type(error).__name__}); "
                "save it as JSONL elsewhere and give the file's path instead."
            ) from error
        texts = ("\n\n".join(x for x in (r[p.column], r[p.beside] if p.beside else "") if x) for r in rows)
        prompts = [Prompt(id=f"{i}", messages=user(text)) for i, text in enumerate(texts, start=p.first)]
        write_prompts(job.out, prompts)
        return {"prompts": len(prompts)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PocketPrompts(Recipe):
    """Chat prompts of the pocket world.

    Attributes:
        n: number of distinct prompts.
        seed: seed of the generator.
        split: "train" or "eval"; their templates differ.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 1
    n: int
    seed: int
    split: str

    def name(self) -> str:
        """A fixed name with the split."""
        return f"pocket-{self.split}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Generate the prompts."""
        from offmodel.pocket.world import chat_prompts

        prompts = chat_prompts(n=job.params.n, seed=job.params.seed, split=job.params.split)
        write_prompts(job.out, prompts)
        return {"prompts": len(prompts)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Recipe):
    """One pool of a partition, alone, so that whoever draws from it can reach no other.

    Attributes:
        pools: a recipe whose payload holds one `<pool>.jsonl` a pool.
        pool: the pool's name.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 1
    pools: Recipe
    pool: str

    def name(self) -> str:
        """The pool's name."""
        return self.pool

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Copy the pool's file."""
        rows = read_rows(job.inputs["pools"].path / f"{job.params.pool}.jsonl")
        write_rows(job.out / PROMPTS, rows)
        return {"prompts": len(rows)}


@final
@dataclass(frozen=True, slots=True)
class AuditedLabels:
    """Labels that an audit has passed; `read_audited` is the only way to get one."""

    labels: tuple[Label, ...]


def read_audited(folder: Path) -> AuditedLabels:
    """The labels of an audit's payload.

    Raises:
        AuditError: the folder holds no passed audit.
    """
    proof = folder / AUDITED
    if not proof.is_file() or json.loads(proof.read_text(encoding="utf-8")).get("passed") is not True:
        raise AuditError("These labels carry no passed audit; train on the audit's output, not on the labels.")
    return AuditedLabels(tuple(read_labels(folder)))


def read_prompts(folder: Path) -> list[Prompt]:
    """The prompts of a payload of kind "prompts"."""
    return [Prompt.from_row(r) for r in read_rows(folder / PROMPTS)]


def write_prompts(folder: Path, prompts: list[Prompt]) -> None:
    """Write prompts into a payload."""
    write_rows(folder / PROMPTS, (p.to_row() for p in prompts))


def read_labels(folder: Path) -> list[Label]:
    """The labels of a payload of kind "labels" or "audit"."""
    return [Label.from_row(r) for r in read_rows(folder / LABELS)]


def write_labels(folder: Path, labels: list[Label]) -> None:
    """Write labels into a payload."""
    write_rows(folder / LABELS, (x.to_row() for x in labels))


def parse_prompts(path: Path) -> list[Prompt]:
    """Prompts of a JSONL file in one of the common formats.

    Raises:
        DataError: a row has no prompt, or the file has no rows; the message holds the line's number.
    """
    prompts: dict[str, Prompt] = {}
    for number, row in numbered_rows(path):
        messages = _messages(row, f"{path}, line {number},")
        prompt = Prompt(id=str(row.get("id", number)), messages=messages, topic=str(row.get("topic", "")))
        if prompt.id in prompts:
            raise DataError(f"{path}, line {number}, repeats the id '{prompt.id}'; ids must be unique.")
        prompts[prompt.id] = prompt
    if not prompts:
        raise DataError(f"{path} holds no prompts; write one JSON object a line.")
    return list(prompts.values())


def _messages(row: dict[str, Any], where: str) -> tuple[Message, ...]:
    turns = _turns(row, where)
    if turns is None:
        raise DataError(f"{where} has no 'prompt', 'question', 'messages', 'conversations' or 'instruction'; add one.")
    while turns and turns[-1][0] == "assistant":
        turns.pop()
    if not turns or turns[-1][0] != "user":
        raise DataError(f"{where} does not end in a user turn; a prompt is what the model is to answer.")
    for role, content in turns:
        if role not in ("system", "user", "assistant") or not isinstance(content, str) or not content.strip():
            raise DataError(f"{where} has a turn without a known role or without text; mend or remove it.")
    return tuple(Message(role, content) for role, content in turns)


def _turns(row: dict[str, Any], where: str) -> list[tuple[Any, Any]] | None:
    for key in ("prompt", "question"):
        if isinstance(row.get(key), str):
            return [("user", row[key])]
    if isinstance(row.get("instruction"), str):
        beside = row.get("input")
        if not isinstance(beside, str | None):
            raise DataError(f"{where} has an 'input' that is no text; write it between quotation marks.")
        return [("user", "\n".join(x for x in (row["instruction"], beside) if x))]
    if isinstance(row.get("messages"), list):
        return [(m.get("role"), m.get("content")) for m in _objects(row["messages"], "messages", where)]
    if isinstance(row.get("conversations"), list):
        turns = _objects(row["conversations"], "conversations", where)
        return [(_ROLES.get(str(m.get("from"))), m.get("value")) for m in turns]
    return None


def _objects(turns: list[Any], column: str, where: str) -> list[dict[str, Any]]:
    """The turns of a conversation; a turn that is left out would make another prompt of it."""
    if not all(isinstance(m, dict) for m in turns):
        raise DataError(f"{where} has a turn in '{column}' that is no JSON object; write each turn as {{...}}.")
    return turns


def near_duplicate_groups(texts: list[str], *, threshold: float = 0.8) -> list[list[int]]:
    """Indices of texts, grouped so that near duplicates (Jaccard similarity of word pairs) stand together.

    Args:
        texts: any number of texts.
        threshold: similarity from which two texts count as near duplicates.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=64)
    root = list(range(len(texts)))

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for i, text in enumerate(texts):
        words = re.findall(r"\w+", text.casefold())
        sketch = MinHash(num_perm=64, seed=1)
        sketch.update_batch([" ".join(w).encode() for w in zip(["", *words], [*words, ""], strict=True)])
        for other in index.query(sketch):
            root[find(i)] = find(int(str(other)))
        index.insert(i, sketch)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for i in range(len(texts)):
        groups[find(i)].append(i)
    return list(groups.values())


@final
@dataclass(slots=True)
class Sources:
    """Collects what a study names on this machine, so that recipes hold contents and the runtime holds paths."""

    locations: dict[str, str] = field(default_factory=dict)

    def model(self, source: str) -> Recipe:
        """The recipe of a model by the name that a user types (see `models.resolve_model`)."""
        recipe, path = resolve_model(source)
        if path is not None:
            self.locations[recipe.content] = str(path)  # pyright: ignore[reportAttributeAccessIssue]
        return recipe

    def prompts(self, path: str | Path) -> JsonlPrompts:
        """The prompts of a JSONL file; every line is read now, so that a bad one is named before any work."""
        file = Path(path).expanduser().resolve()
        parse_prompts(file)
        return JsonlPrompts(label=file.stem, content=self._add(file))

    def file(self, path: str | Path) -> JsonlFile:
        """A JSONL file as it is."""
        file = Path(path).expanduser().resolve()
        read_rows(file)
        return JsonlFile(label=file.stem, content=self._add(file))

    def note(self, content: str, path: Path) -> None:
        """Remember where a file of this content is."""
        self.locations[content] = str(path)

    def _add(self, file: Path) -> str:
        content = file_digest(file)
        self.locations[content] = str(file)
        return content
