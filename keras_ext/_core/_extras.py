"""Optional dependencies, imported when they are used."""

import importlib
from types import ModuleType


def import_extra(module: str, extra: str) -> ModuleType:
    """Imports a module that only an extra of keras-ext installs.

    Args:
        module: The module to import, for example `"matplotlib.pyplot"`.
        extra: The extra that installs it, for example `"examples"`.

    Returns:
        The module.

    Raises:
        ImportError: If the module is not installed; the message has the command
            that installs it.

    Examples:
        >>> import keras_ext as kx
        >>> kx._core._extras.import_extra("json", extra="all").dumps([1])
        '[1]'
        >>> kx._core._extras.import_extra("no_such_package", extra="explain")
        Traceback (most recent call last):
        ImportError: This needs no_such_package. Install it with: \
pip install "keras-ext[explain]"
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        # A package that is there but misses one of its own dependencies is
        # another problem, and hiding its name would not help.
        if error.name != package:
            raise
        raise ImportError(
            f'This needs {package}. Install it with: pip install "keras-ext[{extra}]"',
            name=package,
        ) from error
