"""Finding batch normalization whose statistics follow the batches."""

import keras

from keras_ext._anatomy._sublayers import sublayers


def moving_norms(model: keras.Model) -> list[keras.Layer]:
    """The layers whose moving statistics a training moves, in models inside too."""
    return [
        layer
        for layer in sublayers(model)
        # What is frozen keeps its statistics.
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
