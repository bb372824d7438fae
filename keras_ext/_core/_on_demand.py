"""Families whose modules are imported when somebody asks for what they define."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any


def on_demand(
    package: str, names: Sequence[str], *, extra: str
) -> Callable[[str], Any]:
    """Makes the `__getattr__` of a package that needs an extra.

    Its classes derive from those of a heavy package, so that their modules cannot be
    imported without it. The package itself can: what it exports is looked up when it
    is asked for, and then imported from the module that is named after it.

    Args:
        package: The package, its `__name__`.
        names: What it exports; `OptunaOracle` is in its module `_optuna_oracle`.
        extra: The extra that installs what the modules need, for the error if it is
            not there.

    Returns:
        A function from a name to what the package exports by it.

    Examples:
        >>> from keras_ext._core._on_demand import on_demand
        >>> find = on_demand("keras_ext._core", ["Version"], extra="all")
        >>> find("no_such_name")
        Traceback (most recent call last):
        AttributeError: module 'keras_ext._core' has no attribute 'no_such_name'
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(f"{package}.{_module(name)}")
        except ModuleNotFoundError as error:
            missing = str(error.name).partition(".")[0]
            raise ImportError(
                f"`{package}.{name}` needs {missing}. Install it with: "
                f'pip install "keras-ext[{extra}]"',
                name=missing,
            ) from error
        return getattr(module, name)

    return find


def _module(name: str) -> str:
    """As `_optuna_oracle` of `OptunaOracle`, and `_asha` of `ASHA`."""
    starts = [
        i
        for i, letter in enumerate(name)
        if letter.isupper() and i and name[i - 1].islower()
    ]
    cuts = [0, *starts, len(name)]
    words = [name[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    return "_" + "_".join(words).lower()
