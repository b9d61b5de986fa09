"""Remote teachers from the command line: tried before any work, their answers kept beside the store's artifacts.

This module refuses to know what is asked. Invariant: no key is read here or shown.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from offmodel.engines.labels import Labels
from offmodel.flow.graph import missing
from offmodel.models import EndpointModel
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe


def check_endpoints(targets: Sequence[Recipe], store: Store, *, whole: Sequence[Recipe] = ()) -> None:
    """Ask each endpoint that the missing labels need whether it is there.

    Raises:
        ModelError: one is not, or refuses the key.
    """
    labels = [r for r in missing(targets, store, whole=whole).values() if isinstance(r, Labels)]
    needed = {r.model.digest: r.model for r in labels if isinstance(r.model, EndpointModel)}
    if needed:
        from offmodel.engines.sampling.http import Endpoint, check_reachable

        for model in needed.values():
            check_reachable(Endpoint(url=model.url, model=model.model))


@contextmanager
def answers_beside(store: Store, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Let workers keep endpoints' answers in the store's `answers`, unless the user has named another folder.

    A folder of the environment rather than of the runtime: a job must hold no path that leads to other jobs' texts.
    """
    from offmodel.engines.sampling.journal import ANSWERS

    if ANSWERS in environment:
        yield
        return
    os.environ[ANSWERS] = str(store.answers)
    try:
        yield
    finally:
        del os.environ[ANSWERS]
