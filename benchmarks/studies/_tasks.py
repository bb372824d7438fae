"""The tasks that studies of optimizers share, and how they count what helps."""

import math
from functools import cache

import keras
import numpy as np
import tensorflow as tf
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


def rates_of(schedule, updates):
    """What a schedule gives for each update."""
    return np.array([float(schedule(step)) for step in range(updates)])


class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of each update, from a table that can be filled anew.

    So that the step of one model, compiled once, serves all schedules.
    """

    def __init__(self, updates):
        self._updates = updates
        self._table = tf.Variable(tf.zeros(updates))

    def fill(self, rates):
        """With a number for all, or one for each."""
        self._table.assign(np.broadcast_to(np.float32(rates), self._updates))

    def __call__(self, step):
        return self._table[tf.minimum(tf.cast(step, "int32"), self._updates - 1)]


class Training:
    """One network and one kind of optimizer, for any rates and seeds.

    Args:
        task: Name of the task.
        make_optimizer: Function of the learning rate that returns an optimizer.
        folder: That with the data of MNIST, if the task needs it.
    """

    def __init__(self, task, make_optimizer, folder=None):
        self._task, self._folder = task, folder
        self._rates = Rates(num_updates(task, folder))
        self._model = self._new_model()
        optimizer = make_optimizer(self._rates)
        self._model.compile(optimizer, loss_of(task), steps_per_execution=8)
        optimizer.build(self._model.trainable_variables)
        self._start = [v.numpy() for v in optimizer.variables]

    def _new_model(self):
        shape = data(self._task, self._folder)[0][0].shape[1:]
        return keras.Sequential([keras.Input(shape), *layers(self._task)])

    def log_loss(self, rates, seed, *, callbacks=(), part=2):
        """Trains; the logarithm of the loss on test data (2) or validation data (1).

        A training that diverges counts as one that has learned nothing.
        """
        keras.utils.set_random_seed(seed)
        self._model.set_weights(self._new_model().get_weights())
        variables = self._model.optimizer.variables
        for variable, value in zip(variables, self._start, strict=True):
            variable.assign(value)
        self._rates.fill(rates)
        train = data(self._task, self._folder)
        self._model.fit(
            *train[0],
            batch_size=BATCH_SIZE,
            epochs=EPOCHS[self._task],
            callbacks=list(callbacks),
            verbose=0,
        )
        loss = self._model.evaluate(*train[part], batch_size=1024, verbose=0)
        nothing = 1.0 if self._task == "regression" else math.log(10)
        return math.log(loss if loss < nothing else nothing)


def effects(columns, losses):
    """For columns of 1 and -1: the mean difference, for each seed."""
    return np.asarray(losses) @ columns / (columns.shape[0] / 2)


def in_percent(values):
    """As text: by how much a difference of logarithms changes the loss."""
    mean = 100 * math.expm1(np.mean(values))
    return f"{mean:+6.1f} ± {100 * half_interval(values):.1f}"
