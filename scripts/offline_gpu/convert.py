"""Convert a model file into the store that OFFMODEL_STORE names, before a study asks for it."""

import os
import sys
from pathlib import Path

from offmodel.flow.runner import run
from offmodel.models import resolve_model
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime

if __name__ == "__main__":
    recipe, path = resolve_model(sys.argv[1])
    content = recipe.content  # pyright: ignore[reportAttributeAccessIssue]
    runtime = Runtime(threads=8, locations=((content, str(path)),))
    run([recipe], store=Store(Path(os.environ["OFFMODEL_STORE"])), runtime=runtime, workers=0)
