"""Where models come from: a packaged pocket model, a local Hugging Face folder, a GGUF file, a hub id, or an endpoint.

Each is a recipe whose identity is its content (a digest of the files, or a pinned revision), so a folder that moves
keeps its results and a folder that changes loses them. This module refuses to know what a model is used for.
Invariant: the payload is a complete Hugging Face folder with a chat template; an endpoint's is `endpoint.json` alone.
"""

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from offmodel.core.errors import DataError, ModelError
from offmodel.pocket.world import model_folder
from offmodel.store.recipe import Facts, Job, Recipe

ENDPOINT = "endpoint.json"
_GGUF = "model.gguf"
_TOKENIZER = "tokenizer_config.json"
_KEPT = (".json", ".jinja", ".safetensors", ".model", ".txt", ".md")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel(Recipe):
    """A Hugging Face folder on this machine (the packaged pocket models are such folders).

    Attributes:
        label: a readable name.
        content: digest of the folder's files, from `folder_digest`.
    """

    kind: ClassVar[str] = "model"
    recipe_version: ClassVar[int] = 1
    on_device: ClassVar[bool] = False
    label: str
    content: str

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Copy the folder's files; a link would make the user's own read-only once the payload is published."""
        source = job.runtime.locate(job.params.content)
        if folder_digest(source) != job.params.content:
            raise ModelError(f"The model folder {source} changed while the study ran; run the study again.")
        for path in _model_files(source):
            shutil.copyfile(path, job.out / path.name)
        return {"source": "folder"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel(Recipe):
    """A model of the Hugging Face hub at a pinned revision.

    Attributes:
        repo: the id, for example "Qwen/Qwen2.5-0.5B-Instruct".
        revision: the commit, 40 hexadecimal digits.
    """

    kind: ClassVar[str] = "model"
    recipe_version: ClassVar[int] = 1
    on_device: ClassVar[bool] = False
    repo: str
    revision: str

    def name(self) -> str:
        """The last part of the id."""
        return self.repo.rsplit("/", 1)[-1]

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Download (or take from the hub's own cache) and copy the files."""
        from huggingface_hub import snapshot_download

        repo, revision = job.params.repo, job.params.revision
        try:
            folder = snapshot_download(repo, revision=revision, allow_patterns=[f"*{s}" for s in _KEPT])
        except Exception as error:
            raise ModelError(
                f"The model {repo}@{revision[:12]} cannot be reached ({type(error).__name__}); "
                "download it elsewhere and give the path of its folder instead."
            ) from error
        check_model_folder(Path(folder))
        for path in _model_files(Path(folder)):
            shutil.copyfile(path, job.out / path.name)
        return {"source": "hub", "repo": repo, "revision": revision}


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufModel(Recipe):
    """A GGUF file, dequantised once into a Hugging Face folder.

    Attributes:
        label: a readable name.
        content: SHA-256 of the file.
        dtype: "bfloat16" or "float32", the type of the saved weights.
    """

    kind: ClassVar[str] = "model"
    recipe_version: ClassVar[int] = 1
    on_device: ClassVar[bool] = False
    label: str
    content: str
    dtype: str

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Load through transformers (20-60 s for 0.5B), clear the quantizer, save as safetensors.

        The file is linked into a folder of its own first: transformers would take a tokenizer that lies beside it for
        the file's, whatever model that one belongs to.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        source = job.runtime.locate(job.params.content)
        check_unchanged(source, job.params.content)
        alone = job.scratch / "gguf"
        shutil.rmtree(alone, ignore_errors=True)
        alone.mkdir(parents=True)
        (alone / _GGUF).symlink_to(source.resolve())
        tokenizer = AutoTokenizer.from_pretrained(alone, gguf_file=_GGUF)
        model: Any = AutoModelForCausalLM.from_pretrained(alone, gguf_file=_GGUF, dtype=torch.float32)
        # The loaded model still believes that it is quantised and would refuse save_pretrained.
        model.hf_quantizer, model.is_quantized = None, False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        tied = _repeats_embeddings(model)
        if tied:
            model.config.tie_word_embeddings = True
            model.tie_weights()
        model.config._name_or_path = ""
        model.to(getattr(torch, job.params.dtype)).save_pretrained(job.out)
        tokenizer.save_pretrained(job.out)
        check_model_folder(job.out)
        return {"source": "gguf", "dtype": job.params.dtype, "embeddings_tied": tied}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointModel(Recipe):
    """A model behind an OpenAI-compatible endpoint: it can write labels, and nothing else.

    Attributes:
        url: up to and without "/chat/completions".
        model: the model's name there.
    """

    kind: ClassVar[str] = "endpoint"
    recipe_version: ClassVar[int] = 1
    url: str
    model: str

    def name(self) -> str:
        """The model's name."""
        return _plain(self.model)

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Write down what to ask; nothing is asked here."""
        about = {"url": job.params.url, "model": job.params.model}
        (job.out / ENDPOINT).write_text(json.dumps(about), encoding="utf-8")
        return about


def _endpoint(source: str) -> EndpointModel:
    url, _, model = source.partition("#")
    parts = urlsplit(url)
    if not model or not parts.hostname:
        raise ModelError(f"'{source}' names no model; write the endpoint as http://host:port/v1#model.")
    if parts.username or parts.password or parts.query:
        raise ModelError(
            "The endpoint's address holds a key or a query, which would be written into records; give the address "
            "alone, and the key as OFFMODEL_API_KEY in the environment."
        )
    return EndpointModel(url=url.rstrip("/").removesuffix("/chat/completions"), model=model)


def _repeats_embeddings(model: Any) -> bool:
    """Whether the output matrix is the input embeddings again: some files carry a tied matrix twice."""
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return embeddings.shape == head.shape and bool((head - embeddings).norm() < 0.1 * embeddings.norm())


def pass_on(source: Path, target: Path) -> None:
    """Hard-link a file of one payload into another; copy it where the file system cannot link."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


BASE, ADAPTER = "base", "adapter"


def weights_in(folder: Path) -> tuple[Path, Path | None]:
    """(model folder, adapter folder or None) of a model's payload.

    Most payloads are one whole model. One that was made as an adapter, and kept as one, holds `base/` and `adapter/`
    instead of files, so that whoever does not ask here finds no model, rather than the base without its adapter.
    """
    adapter = folder / ADAPTER
    return (folder / BASE, adapter) if adapter.is_dir() else (folder, None)


def check_model_folder(folder: Path) -> None:
    """Say in one sentence what a model folder lacks, without loading anything.

    Raises:
        ModelError: no such folder, no config, no weights, no tokenizer or no chat template, or one that is damaged.
    """
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}; give a Hugging Face folder, a .gguf file or a hub id.")
    needs = {
        "config.json": "a Hugging Face configuration",
        "*.safetensors": "weights in safetensors format",
        "tokenizer*": "a tokenizer",
    }
    for pattern, what in needs.items():
        if not any(folder.glob(pattern)):
            raise ModelError(f"The model folder {folder} lacks {what} ({pattern}); save the model there completely.")
    abouts = {name: _read_about(folder / name) for name in ("config.json", _TOKENIZER) if (folder / name).is_file()}
    if not (folder / "chat_template.jinja").is_file() and not abouts.get(_TOKENIZER, {}).get("chat_template"):
        raise ModelError(
            f"The model in {folder} has no chat template; put a chat_template.jinja beside its tokenizer, "
            "or choose the instruction-tuned variant."
        )


def _read_about(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        about = None
    if not isinstance(about, dict):
        raise ModelError(f"The file {file} is damaged: it holds no JSON object; save or download the model again.")
    return about


def _model_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in _KEPT)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_unchanged(path: Path, content: str) -> None:
    """Hold a local file against the digest by which a recipe names it, just before it is used.

    Raises:
        DataError: the file holds something else by now, or is gone.
    """
    if not path.is_file() or file_digest(path) != content:
        raise DataError(_changed(path))


def read_unchanged(path: Path, content: str) -> bytes:
    """The bytes of a local file that a recipe names by its digest: those that were hashed, in one reading.

    Raises:
        DataError: the file holds something else by now, or is gone.
    """
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != content:
        raise DataError(_changed(path))
    return data


def _changed(path: Path) -> str:
    return f"The file {path} changed while the study ran; run it again."


def folder_digest(folder: Path) -> str:
    """One digest of the names and contents of a model folder's files, 64 hexadecimal digits."""
    lines = [f"{p.name} {file_digest(p)}" for p in _model_files(folder)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def resolve_model(source: str) -> tuple[Recipe, Path | None]:
    """The recipe of a model by the name that a user types, and where it lies if it is on this machine.

    Args:
        source: "pocket:student", a folder, a file ending in .gguf, a hub id with its commit, "org/name@commit", or an
            endpoint with its model, "http://host:port/v1#model".

    Raises:
        ModelError: the model is not there or is not complete; the message says how to mend it.
    """
    if source.startswith("pocket:"):
        folder = model_folder(source.removeprefix("pocket:"))
        check_model_folder(folder)
        return LocalModel(label=f"pocket-{folder.name}", content=folder_digest(folder)), folder
    if source.startswith(("http://", "https://")):
        return _endpoint(source), None
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"There is no GGUF file {path}; check the path.")
        return _gguf(path), path
    if path.is_dir():
        check_model_folder(path)
        return LocalModel(label=_plain(path.resolve().name), content=folder_digest(path)), path.resolve()
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})", source)
    if match:
        return HubModel(repo=match[1], revision=match[2]), None
    looks_hub = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", source) and not source.startswith(("./", "../"))
    if looks_hub and not path.exists():
        raise ModelError(
            f"'{source}' is neither a folder here nor a hub id with its commit; write "
            f"'{source.split('@')[0]}@<40 hexadecimal digits>', or give the path of a local folder."
        )
    raise ModelError(f"There is no model folder {path}; give a Hugging Face folder, a .gguf file or a hub id.")


def _gguf(path: Path) -> GgufModel:
    return GgufModel(label=_plain(path.stem), content=file_digest(path), dtype="bfloat16")


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
