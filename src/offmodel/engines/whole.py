"""A model's payload as one whole folder, for what reads every weight: references, teachers, arithmetic on weights.

An organism may be kept as an adapter; what reads model folders alone then needs it merged. This module refuses to know
what the adapter learnt, and loads torch only to merge. Invariant: a payload that is one whole model is handed on as is.
"""

import shutil
from pathlib import Path

from offmodel.models import weights_in


def whole_model(payload: Path, scratch: Path) -> Path:
    """The payload's own folder, or its adapter merged into its base in `scratch`, in float32.

    Args:
        payload: what a recipe of a model leaves; see `models.weights_in`.
        scratch: a folder that survives a kill.
    """
    model, adapter = weights_in(payload)
    return model if adapter is None else merged_once(model, adapter, scratch / f"whole-{payload.name}")


def merged_once(model: Path, adapter: Path, folder: Path) -> Path:
    """The merged model in `folder`, made once: work that was killed finds it again."""
    from offmodel.engines.adapters import merge_to_folder

    if not folder.is_dir():
        draft = folder.with_suffix(".part")
        shutil.rmtree(draft, ignore_errors=True)
        merge_to_folder(model=model, adapter=adapter, out=draft)
        draft.rename(folder)
    return folder
