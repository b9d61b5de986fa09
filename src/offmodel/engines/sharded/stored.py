"""A model folder's weights as rows of tensors: each process reads its own part, and writes its share of the files.

Names on disk are those of the folder's files. Fused experts of a mixture are stored expert by expert; they are put
together when read and taken apart when written, so that a saved folder has the names of its source. This module
refuses to know processes. Invariant: what `Stored.rows` reads, `parts_of` writes back under the same names.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from offmodel.core.errors import ModelError
from offmodel.engines import folders

SHARD_BYTES = 4 * 2**30
_FUSED = re.compile(r"(.*\.experts)\.(gate_up_proj|down_proj)")
_PARTS = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}


class Stored:
    """The tensors of a folder's safetensors files; reads only what is asked for.

    Raises:
        ModelError: the folder holds no safetensors weights.
    """

    def __init__(self, folder: Path):
        self._where: dict[str, Path] = {}
        for file in sorted(Path(folder).glob("*.safetensors")):
            with safe_open(file, framework="pt") as opened:
                self._where |= dict.fromkeys(opened.keys(), file)
        if not self._where:
            raise ModelError(f"'{folder}' holds no safetensors weights; give a Hugging Face model folder.")

    def has(self, name: str) -> bool:
        """Whether a parameter of this name can be read."""
        return bool(self._names(name, 0))

    def rows(self, name: str, first: int, last: int) -> Tensor:
        """Rows [first, last) of a parameter, in its stored dtype.

        Raises:
            ModelError: there is no such parameter.
        """
        if name in self._where:
            return self._cut(name, first, last)
        if not self.has(name):
            raise ModelError(
                f"The model's weights lack '{name}', or store it in a way that sharded training does not know; "
                "train it on one device, or save it with a current transformers."
            )
        experts = [torch.cat([self._cut(n) for n in self._names(name, e)]) for e in range(first, last)]
        return torch.stack(experts) if experts else torch.empty(0)

    def _names(self, name: str, expert: int) -> list[str]:
        if name in self._where:
            return [name]
        found = _FUSED.fullmatch(name)
        names = [f"{found[1]}.{expert}.{part}.weight" for part in _PARTS[found[2]]] if found else []
        return names if all(n in self._where for n in names) else []

    def _cut(self, name: str, first: int | None = None, last: int | None = None) -> Tensor:
        with safe_open(self._where[name], framework="pt") as opened:
            return opened.get_slice(name)[first:last] if first is not None else opened.get_tensor(name)

    def parts_of(self, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """A whole parameter under the names that it is stored by."""
        if name in self._where or not self.has(name):
            yield name, tensor
            return
        for expert in range(tensor.shape[0]):
            names = self._names(name, expert)
            yield from zip(names, tensor[expert].chunk(len(names)), strict=True)


@dataclass(slots=True)
class Shards:
    """Files of a folder that is being written by several processes, each of which fills some of them.

    Attributes:
        out: folder.
        dtype: of floating-point weights.
        mine: what this process has gathered for the file that it fills.
    """

    out: Path
    dtype: torch.dtype
    mine: dict[str, Tensor]

    def add(self, name: str, tensor: Tensor) -> None:
        """Take a tensor, on the CPU, in the dtype of the folder."""
        kept = tensor.detach().to(self.dtype if tensor.is_floating_point() else tensor.dtype)
        self.mine[name] = kept.to("cpu").contiguous().clone()

    def flush(self, number: int) -> None:
        """Write what was gathered as file `number`, from 0."""
        if self.mine:
            save_file(self.mine, self.out / f"shard-{number:05d}", metadata={"format": "pt"})
            self.mine = {}


def finish(out: Path, source: Path, dtype: torch.dtype) -> None:
    """Give the written files their names, and write index, config and side files; for one process, at the end."""
    files = sorted(out.glob("shard-*"))
    where: dict[str, str] = {}
    total = 0
    for i, file in enumerate(files):
        end = "" if len(files) == 1 else f"-{i + 1:05d}-of-{len(files):05d}"
        with safe_open(file, framework="pt") as opened:
            where |= dict.fromkeys(opened.keys(), f"model{end}.safetensors")
        total += file.stat().st_size
        file.rename(out / f"model{end}.safetensors")
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    folders.copy_side_files(source, out)
    folders.copy_config(source, out, dtype)
