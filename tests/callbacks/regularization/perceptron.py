"""A perceptron with all that `AdaptiveRegularization` moves, and its loss by hand."""

import keras
import numpy as np
from scipy.special import logsumexp

from keras_ext.callbacks import AdaptiveRegularization

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 6)).astype("float32")
Y = keras.utils.to_categorical(RNG.integers(0, 3, 70))
TRAIN, VALIDATION = (X[:40], Y[:40]), (X[30:], Y[30:])
START = {"l1": 0.02, "l2": 0.03, "activity": 0.05, "decay": 0.04, "smoothing": 0.1}
KEYS = {
    "hidden/kernel_regularizer/l1": "l1",
    "hidden/kernel_regularizer/l2": "l2",
    "hidden/activity_regularizer/l2": "activity",
    "optimizer/weight_decay": "decay",
    "loss/label_smoothing": "smoothing",
}


def plain_model(optimizer=keras.optimizers.SGD, rate=0.003, noise=None, **changed):
    keras.utils.set_random_seed(1)
    values = {**START, **changed}
    hidden = keras.layers.Dense(
        5,
        "tanh",
        kernel_regularizer=keras.regularizers.L1L2(values["l1"], values["l2"]),
        activity_regularizer=keras.regularizers.L2(values["activity"]),
        name="hidden",
    )
    noise = [] if noise is None else [noise]
    model = keras.Sequential(
        [keras.Input((6,)), hidden, *noise, keras.layers.Dense(3, name="out")]
    )
    model.compile(
        optimizer(rate, weight_decay=values["decay"]),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=values["smoothing"]
        ),
    )
    return model


def validation_loss(model):
    """The cross entropy of the perceptron, in float64."""
    w, b, v, c = (np.asarray(w, "float64") for w in model.get_weights())
    logits = np.tanh(VALIDATION[0] @ w + b) @ v + c
    return np.mean(logsumexp(logits, 1) - (VALIDATION[1] * logits).sum(1))


def fit(model, callback, epochs=3, **options):
    options = {"epochs": epochs, "callbacks": [callback], "verbose": 0, **options}
    return model.fit(*TRAIN, **options).history


def adapt(rule, **options):
    return AdaptiveRegularization(
        TRAIN,
        VALIDATION,
        **{"rule": rule, "warmup_epochs": 0, "seed": 0, **options},
    )
