"""Every error that offmodel raises on purpose.

    OffmodelError
    ├── UserError               the user's mistake: one sentence that names it and the mend; shown without a traceback
    │   ├── UnknownName         a study, pair, method ... that does not exist (with the nearest match)
    │   ├── ModelError          a model that cannot be reached or used (no chat template, no such folder)
    │   ├── DataError           a file or row that cannot be read as prompts, labels or tasks
    │   ├── RenderingError      a conversation that the chat template does not render as training needs
    │   ├── RecipeError         a recipe field without one canonical form, or a grid that makes no sense
    │   ├── AuditError          blue data that hold the trigger, or pools that overlap
    │   ├── GateError           an organism that is not fit to be treated
    │   └── StoreError          a store written by a newer version, a full disk, an artifact that is missing or damaged
    └── RunError                the work itself went wrong
        ├── NonFiniteLoss       training diverged; names the step and the batch
        └── OutOfMemory         even a micro-batch of one does not fit

Invariant: a message is one clear sentence (or two: the mistake, the mend) and stands alone in a terminal.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class OffmodelError(Exception):
    """The root of all deliberate errors."""


class UserError(OffmodelError):
    """The user's mistake; the message names the mistake and the mend."""


class UnknownName(UserError):
    """A name that is not in a catalogue.

    Args:
        what: what was looked for, for example "study".
        name: the name given.
        known: the names that exist.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]):
        self.what, self.name, self.known = what, name, tuple(sorted(known))
        near = get_close_matches(name, self.known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(self.known) or 'none'}."
        super().__init__(f"There is no {what} named '{name}'; {hint}")

    def __reduce__(self):
        return type(self), (self.what, self.name, self.known)


class ModelError(UserError):
    """A model that cannot be reached or used."""


class DataError(UserError):
    """A file or row that cannot be read."""


class RenderingError(UserError):
    """A conversation that the chat template does not render as training needs."""


class RecipeError(UserError):
    """A recipe field without one canonical form, or a combination that makes no sense."""


class AuditError(UserError):
    """Blue data that hold the trigger, or prompt pools that overlap."""


class GateError(UserError):
    """An organism that is not fit to be treated."""


class StoreError(UserError):
    """A store that cannot be used as it is."""


class RunError(OffmodelError):
    """The work itself went wrong."""


class NonFiniteLoss(RunError):
    """Training diverged."""


class OutOfMemory(RunError):
    """Not even the smallest micro-batch fits."""
