"""Running a model without a trace, and with other weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

from keras_ext._core._typing import Tensor, Variable


@contextmanager
def silent_pass(
    model: keras.Model, values: Sequence[Tensor] | None = None
) -> Iterator[keras.StatelessScope]:
    """Lets a model be called, and its loss computed, without anything being written.

    Moving statistics, the seeds of random numbers and metrics stay as they are: the
    next pass draws the same masks as this one. Variables that are not Keras's own, a
    bare `tf.Variable` in a layer, are written all the same.

    A call of the model clears the penalties of the call before, as any does: run this
    before the pass whose loss is wanted, or after that loss was computed. For gradients
    with respect to the weights, enter it within the tape.

    Args:
        model: The model, built.
        values: What its trainable variables are to be, in their order. None means what
            they are.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._silent_pass import silent_pass
        >>> dense = keras.layers.Dense(1, kernel_initializer="ones")
        >>> model = keras.Sequential([keras.Input((1,)), dense])
        >>> x = keras.ops.ones((1, 1))
        >>> with silent_pass(model, [keras.ops.full((1, 1), 5.0), keras.ops.ones(1)]):
        ...     print(model(x).numpy())
        [[6.]]
        >>> print(model(x).numpy())
        [[1.]]
    """
    variables = model.trainable_variables
    # All of them: in the scope, Keras gives a weight without a value to its
    # regularizer as None.
    values = [v.value for v in variables] if values is None else values
    with silent_scope(list(zip(variables, values, strict=True))) as scope:
        yield scope


def silent_scope(values: Sequence[tuple[Variable, Tensor]]) -> keras.StatelessScope:
    """The scope of Keras in which variables have these values, and none is written.

    Those that are made in it, such as metrics of the first batch, are there afterwards.
    """
    scope = keras.StatelessScope(collect_losses=True)
    for variable, value in values:
        # Not by its argument: within the `call` of a model in half precision, that
        # would round them.
        scope.add_update((variable, tf.convert_to_tensor(value)))
    return scope
