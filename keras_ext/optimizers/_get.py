"""Optimizers by name."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_ext._core._checks import require
from keras_ext._core._typing import Config, Optimizer


def get(identifier: str | Config | Optimizer, **options: object) -> Optimizer:
    """Returns an optimizer from its name, of this library or of Keras.

    Capitals do not matter. A name that both have, `"lamb"`, is the one of this library.

    Args:
        identifier: A name such as `"prodigy"` or `"adam"`; or, as in
            `keras.optimizers.get`, a configuration or an optimizer.
        **options: Arguments of the optimizer, if it is a name.

    Returns:
        The optimizer.

    Raises:
        ValueError: If there is no such optimizer, or options are given with something
            else than a name.

    Examples:
        >>> import keras_ext as kx
        >>> kx.optimizers.get("radam", learning_rate=0.1).get_config()["beta_2"]
        0.999
        >>> type(kx.optimizers.get("sgd", momentum=0.9)).__name__
        'SGD'
    """
    return named("identifier", identifier, options)


def named(
    argument: str,
    identifier: str | Config | Optimizer,
    options: Mapping[str, object],
) -> Optimizer:
    """What `get` does, for an argument of another name."""
    rule = "the name of an optimizer of Keras or of this library, or an optimizer"
    if isinstance(identifier, str):
        return _kind(argument, identifier, rule)(**options)
    is_config = isinstance(identifier, Mapping) and "class_name" in identifier
    is_one = is_config or isinstance(identifier, keras.optimizers.Optimizer)
    require(is_one, argument, identifier, rule)
    hint = f"They are {list(options)}."
    require(not options, argument, identifier, "a name, for options", hint)
    return keras.optimizers.get(identifier)


def _kind(argument: str, name: str, rule: str) -> Any:
    # Keras registers a class as "package>Name".
    own = {
        name.removeprefix("keras_ext>").lower(): kind
        for name, kind in keras.saving.get_custom_objects().items()
        if name.startswith("keras_ext>")
        and issubclass(kind, keras.optimizers.Optimizer)
    }
    # First, since Keras has some of the same name, such as Lamb.
    if name.lower() in own:
        return own[name.lower()]
    known = f"Those of this library are {sorted(own)}."
    try:
        return type(keras.optimizers.get(name))
    except ValueError:
        require(False, argument, name, rule, known)
