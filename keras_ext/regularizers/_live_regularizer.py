"""Base of regularizers whose strengths can change while training."""

from typing import Self

import keras

from keras_ext._core._checks import number
from keras_ext._core._typing import Config
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext._live._live_attributes import LiveAttributes


class LiveRegularizer(LiveAttributes, keras.Regularizer):
    """Base for regularizers of your own whose strengths are live.

    A subclass puts strengths into attributes of the same name, made by `live`, and
    overrides `__call__`, which returns the penalty of a weight. Assigning a number to
    such an attribute, `regularizer.l2 = 0.1`, takes effect in the next step of a
    running `fit`. `get_config` has the present values, so that is what a model is saved
    with. `keras_ext.hyper_variables` finds the strengths of a model.

    A strength is a variable on the device from the beginning, as Keras calls
    regularizers inside the compiled step, where none can be made. Under a distribution
    strategy, make the regularizer within its scope, as the model.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> class MeanSquare(kx.regularizers.LiveRegularizer):
        ...     def __init__(self, factor=0.1):
        ...         self.factor = self.live("factor", factor)
        ...
        ...     def __call__(self, x):
        ...         return self.factor.value * keras.ops.mean(keras.ops.square(x))
        >>> regularizer = MeanSquare()
        >>> regularizer.factor = 0.5
        >>> float(regularizer(keras.ops.array([1.0, 3.0])))
        2.5
    """

    @staticmethod
    def live(
        name: str, value: float, high: float | None = None, scale: str = "log"
    ) -> HyperVariable:
        """Makes a live strength.

        Args:
            name: The name of the attribute it is put into.
            value: Number >= 0, the initial value.
            high: The largest value. None means that there is none.
            scale: The scale on which a controller moves it, as in
                `keras_ext.HyperVariable`. Defaults to `"log"`.

        Returns:
            The `HyperVariable`.

        Raises:
            ValueError: If the value is out of range.
        """
        value = number(value, name, low=0, high=high)
        hyper = HyperVariable(value, name, bounds=(0.0, high), scale=scale)
        hyper.build()
        return hyper

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        copied = type(self)(**self.get_config())
        memo[id(self)] = copied
        return copied

    def get_config(self) -> Config:
        """The present strengths, by name."""
        return self.live_config()
