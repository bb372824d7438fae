"""Attributes that mean what they say while the compiled step runs."""

from typing import Any

from keras_ext._core._checks import require
from keras_ext._core._described import Described
from keras_ext._core._typing import Variable
from keras_ext._live._hyper_variable import HyperVariable


class LiveAttributes(Described):
    """Makes assigning a number to an attribute set the `HyperVariable` in it.

    Without it, `layer.rate = 0.3` replaces the `HyperVariable` by a number that no
    compiled step reads: nothing happens, and `get_config` says 0.3. Every class of this
    library that holds a `HyperVariable` has this one as its first base; give it to
    layers, regularizers, optimizers and callbacks of your own.

    Raises:
        ValueError: If what is assigned is not a number in the place of a number, or
            would replace a `HyperVariable` that a compiled step may read.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> class Scale(kx.LiveAttributes, keras.layers.Layer):
        ...     def __init__(self, factor=1.0, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.factor = kx.HyperVariable(factor, "factor")
        ...
        ...     def build(self, input_shape):
        ...         self.build_hyper_variables()
        ...
        ...     def call(self, inputs):
        ...         return self.factor.value * inputs
        ...
        ...     def get_config(self):
        ...         return {**super().get_config(), **self.live_config()}
        >>> layer = Scale()
        >>> layer.factor = 3.0
        >>> print(layer(keras.ops.ones((2,))).numpy())
        [3. 3.]
        >>> layer.live_config()
        {'factor': 3.0}
    """

    def __setattr__(self, name: str, value: Any) -> None:
        present = vars(self).get(name)
        if not isinstance(present, HyperVariable) or value is present:
            super().__setattr__(name, value)
        elif isinstance(value, HyperVariable):
            hint = "Assign a number: the compiled step reads the one that is there."
            require(not present.built, name, value, "a number", hint)
            super().__setattr__(name, value)
        else:
            present.assign(value)

    @property
    def hyper_variables(self) -> list[HyperVariable]:
        """The hyperparameters that can change while training."""
        return [v for v in vars(self).values() if isinstance(v, HyperVariable)]

    def build_hyper_variables(self) -> list[Variable]:
        """Creates the device variables, once, in the current strategy scope.

        Call it in `build`. Keras saves them with the weights of a layer, since it finds
        them in an attribute.

        Returns:
            The variables.
        """
        self._live_variables = [hyper.build() for hyper in self.hyper_variables]
        return self._live_variables

    def live_config(self) -> dict[str, float]:
        """The present values as plain numbers, by attribute, for `get_config`."""
        return {
            name: int(held) if held.dtype == "int32" else float(held)
            for name, held in vars(self).items()
            if isinstance(held, HyperVariable)
        }
