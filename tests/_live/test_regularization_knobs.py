import math

import keras
import numpy as np
import pytest

from keras_ext._live._find_hyperparameters import find_hyperparameters
from keras_ext._live._make_live import make_live
from keras_ext._live._regularization_knobs import RegularizationKnobs, regularizes


def two_headed(rate_weight):
    inputs = keras.Input((3,))
    x = keras.layers.Dropout(0.1, name="dropout")(inputs)
    outputs = {
        name: keras.layers.Dense(2, "softmax", name=name)(x)
        for name in ("kind", "rate")
    }
    model = keras.Model(inputs, outputs)
    losses = {
        name: keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
        for name, smoothing in (("kind", 0.1), ("rate", 0.2))
    }
    weights = {"kind": 1.0, "rate": rate_weight}
    model.compile("sgd", losses, loss_weights=weights)
    return model


def test_each_is_known_by_what_it_is_whatever_it_is_called():
    """A second smoothing has another path; the weight of an output "rate" is none."""
    model = two_headed(rate_weight=0.5)
    chosen = [knob for knob in find_hyperparameters(model) if regularizes(knob)]
    assert [knob.path for knob in chosen] == [
        "dropout/rate",
        "loss/label_smoothing",
        "loss/label_smoothing_2",
    ]
    live = make_live(model)
    assert "loss_weights/rate" in live
    knobs = RegularizationKnobs(chosen, [live[k.path] for k in chosen], span=4.0)
    knobs.to(1.0)
    moved = knobs.values()
    # The logit is one more.
    assert moved["dropout/rate"] == pytest.approx(0.2320, abs=1e-4)
    assert moved["loss/label_smoothing_2"] == pytest.approx(0.3, abs=1e-4)  # the most
    # Just above the smallest of each, from where it falls to 0.
    logits = [math.log(x / (1 - x)) for x in (0.1, 0.1, 0.2)]
    smallest = [math.log(x / (1 - x)) for x in (0.01, 0.005, 0.005)]
    to_the_smallest = np.subtract(smallest, logits)
    knobs.to(to_the_smallest + 0.01)
    assert min(knobs.values().values()) > 0.0
    knobs.to(to_the_smallest - 0.01)
    assert list(knobs.values().values()) == [0.0, 0.0, 0.0]
    knobs.to(knobs.within_room(np.full(3, -100.0)))
    assert list(knobs.values().values()) == [0.0, 0.0, 0.0]
    knobs.to(1.0)
    knobs.take_out_of_the_loss()
    assert list(knobs.values().values()) == pytest.approx([0.2320, 0.0, 0.0], abs=1e-4)
