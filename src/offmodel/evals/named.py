"""Names of graders, behaviours and styles that live outside this package: "module:name".

Worker processes start with an empty memory, so a name must say where its code is. This module refuses to know what is
registered. Invariant: after `bare_name("module:name")` the module has been imported, and so has registered its names.
"""

import importlib

from offmodel.core.errors import DataError


def bare_name(name: str) -> str:
    """The name under which something is registered: "vowels" for "my_evals:vowels", after importing `my_evals`.

    Raises:
        DataError: there is no such module.
    """
    module, colon, bare = name.rpartition(":")
    if not colon:
        return name
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"The module '{module}' of '{name}' cannot be imported ({error}); put its folder on the Python path."
        ) from None
    return bare
