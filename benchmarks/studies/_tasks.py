"""The tasks that studies of optimizers share, and how they count what helps."""

import math
from functools import cache

import keras
import numpy as np
from sklearn.datasets import load_diabetes

from benchmarks._data import digits, mnist10k, train_validation_test
from benchmarks._intervals import half_interval

BATCH_SIZE = 32
EPOCHS = {"digits": 16, "deep": 16, "regression": 48, "gru": 12, "mnist": 6}


@cache
def data(task, folder=None):
    """Training, validation and test data."""
    if task == "regression":
        x, y = load_diabetes(return_X_y=True)
        x, y = (np.float32((a - a.mean(0)) / a.std(0)) for a in (x, y))
    elif task == "mnist":
        x, y = (a[:5000] for a in mnist10k(folder, (28, 28, 1)))
    else:
        x, y = digits((8, 8) if task == "gru" else (64,))
    return train_validation_test(x, y)


def layers(task):
    dense = keras.layers.Dense
    if task == "mnist":
        return [
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            dense(10),
        ]
    if task == "gru":
        return [keras.layers.GRU(32), dense(10)]
    if task == "deep":
        deep = [dense(32, "relu", kernel_initializer="he_normal") for _ in range(20)]
        return [*deep, dense(10)]
    outputs = 1 if task == "regression" else 10
    return [dense(64, "relu"), dense(64, "relu"), dense(outputs)]


def loss_of(task):
    if task == "regression":
        return keras.losses.MeanSquaredError()
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def num_updates(task, folder=None):
    """How many updates a training makes."""
    rows = len(data(task, folder)[0][0])
    return EPOCHS[task] * math.ceil(rows / BATCH_SIZE)


def log_loss(task, make_optimizer, seed, *, callbacks=(), folder=None, part=2):
    """Trains; the logarithm of the loss on test data (2), or on validation data (1).

    A training that diverges counts as one that has learned nothing.
    """
    train = data(task, folder)[0]
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input(train[0].shape[1:]), *layers(task)])
    model.compile(make_optimizer(), loss_of(task))
    model.fit(
        *train,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS[task],
        callbacks=list(callbacks),
        verbose=0,
    )
    loss = model.evaluate(*data(task, folder)[part], batch_size=1024, verbose=0)
    keras.utils.clear_session(free_memory=False)
    nothing = 1.0 if task == "regression" else math.log(10)
    return math.log(loss if loss < nothing else nothing)


def effects(columns, losses):
    """For columns of 1 and -1: the mean difference, for each seed."""
    return np.asarray(losses) @ columns / (columns.shape[0] / 2)


def in_percent(values):
    """As text: by how much a difference of logarithms changes the loss."""
    mean = 100 * math.expm1(np.mean(values))
    return f"{mean:+6.1f} ± {100 * half_interval(values):.1f}"
