"""The weights that would be trained, if their layer were not frozen.

A variable does not tell whether it was made as a weight to be trained. Private name:
`_trainable_variables` of a layer, which holds those that were, also while
`trainable=False`.
"""

from collections.abc import Iterable

import keras

from keras_ext._core._typing import Variable


def frozen_weights(layers: Iterable[keras.Layer]) -> list[Variable]:
    """The weights of layers that `trainable=False` keeps from being trained.

    Args:
        layers: Each layer alone, without those inside it.
    """
    made = [v for layer in layers for v in layer._trainable_variables]
    return [v for v in made if not v.trainable]
