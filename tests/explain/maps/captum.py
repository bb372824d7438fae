"""A model of images and maps of its second output, by captum and others."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

REFERENCE = np.load(Path(__file__).parents[2] / "fixtures" / "captum_maps.npz")
X = REFERENCE["x"]
TARGET = 1


def model():
    """The network that the maps are of."""
    network = keras.Sequential(
        [
            keras.Input(X.shape[1:]),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(5, 3, padding="same", name="second"),
            layers.ReLU(name="rectified"),
            layers.AveragePooling2D(2, name="pooled"),
            layers.Flatten(),
            layers.Dense(6, "relu"),
            layers.Dense(3),
        ]
    )
    network.set_weights([REFERENCE[f"w{i}"] for i in range(8)])
    return network
