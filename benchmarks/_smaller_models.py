"""What the scripts about smaller models share."""

import time

import keras
import numpy as np

import keras_ext as kx
from benchmarks._intervals import ratios


def copy_of(model):
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied


def accuracy(outputs, y):
    """In percent."""
    return 100 * float(np.mean(np.argmax(outputs, -1) == y))


class Clock(keras.callbacks.Callback):
    """Clock and processor time of an epoch, without the steps that are traced in."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 10:
            self.begin = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter(), time.process_time()
        self.times.append([b - a for a, b in zip(self.begin, now, strict=True)])


def cost(make, fit, data, turns=7):
    """The time of steps with pruning by that of plain ones, in turns.

    `fit(model, data, callbacks)` is to train a model for an epoch.
    """
    data = tuple(np.concatenate([part] * (1 + 6000 // len(part))) for part in data)
    times = {"plain": [], "pruned": []}
    models = {name: make() for name in times}
    for _ in range(turns):
        for name, model in models.items():
            sparsity = kx.compression.ConstantSparsity(0.8, begin_step=1)
            prune = kx.compression.Prune(sparsity, verbose=0)
            fit(model, data, [Clock(times[name])] + [prune] * (name == "pruned"))
    return [
        ratios(*([t[i] for t in times[name]] for name in ("pruned", "plain")))
        for i in range(2)
    ]
