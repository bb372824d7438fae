"""A method of one object, replaced for a while."""

from collections.abc import Callable
from typing import Any


def replace_method(
    owner: Any, name: str, method: Callable[..., Any]
) -> Callable[[], None]:
    """Puts a function in the place of a method of one object.

    Args:
        owner: The object.
        name: The name of the method.
        method: What is called instead, without the object.

    Returns:
        A function that undoes it. What had replaced the method before is then there
        again; so several who undo in the opposite order do not disturb each other.

    Examples:
        >>> import keras
        >>> from keras_ext.core._replaced_method import replace_method
        >>> layer = keras.layers.ReLU()
        >>> undo = replace_method(layer, "call", lambda inputs: "nothing")
        >>> layer.call([1.0])
        'nothing'
        >>> undo()
        >>> "call" in vars(layer)
        False
    """
    before = vars(owner).get(name)
    # Past Keras's attribute tracking.
    object.__setattr__(owner, name, method)

    def undo() -> None:
        vars(owner).pop(name, None)
        if before is not None:
            object.__setattr__(owner, name, before)

    return undo
