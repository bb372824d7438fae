"""How much time do the callbacks add to a training step?

Plain `fit`, `fit` with each callback, and with all four, take turns by epochs in one
run, so that a busy machine slows all of them. The time of an epoch is divided by that
of the plain epoch of the same turn. Printed is the median of these ratios, with the
quartiles: of the time on the clock, and of the processor time, which other programs on
the machine disturb less. What a callback does at the end of an epoch counts; tracing
does not.

Run: `python benchmarks/overhead.py [--epochs 15] [--data DIR] [--json FILE]`

Prints the ratios and writes them, with the times, as JSON. With `--data`, the convnet
trains on the MNIST images (IDX files) in DIR, otherwise on images of noise: the time is
the same.
"""

import argparse
import json
import platform
import statistics
import threading
import time
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_ext as kx

BATCH_SIZE = 32


class TakeTurns(keras.callbacks.Callback):
    """Lets one `fit` run at a time, an epoch each, and records the seconds of it."""

    def __init__(self, turns, place):
        super().__init__()
        self.turns = turns
        self.place = place
        self.times = []  # pairs: seconds on the clock, of the processor

    def on_epoch_begin(self, epoch, logs=None):
        self._pass_on(epoch - 1)
        self.turns.wait_for(self.place)
        self._start = time.perf_counter(), time.process_time()

    def on_train_end(self, logs=None):
        self._pass_on(len(self.times))

    def _pass_on(self, epoch):
        if epoch >= 0:
            now = time.perf_counter(), time.process_time()
            self.times.append([b - a for a, b in zip(self._start, now, strict=True)])
            self.turns.end_of(self.place)


class Turns:
    """Whose turn it is, in a circle of `size`."""

    def __init__(self, size):
        self.size = size
        self.now = 0
        self.changed = threading.Condition()

    def wait_for(self, place):
        with self.changed:
            self.changed.wait_for(lambda: self.now == place)

    def end_of(self, place):
        with self.changed:
            self.now = (place + 1) % self.size
            self.changed.notify_all()


def digits_mlp():
    """A small perceptron on the digits of scikit-learn, four times over."""
    digits = load_digits()
    x = np.tile(digits.data / 16.0, (4, 1)).astype("float32")
    y = np.tile(digits.target, 4)
    layers = [
        keras.Input((64,)),
        keras.layers.Dense(128, "relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(10),
    ]
    return layers, x, y


def convnet(data):
    """A small convnet on images of 28 x 28 pixels."""
    if data:
        x, y = (read_idx(next(Path(data).glob(name))) for name in ("*images*", "*lab*"))
        x = x[:6400, ..., None].astype("float32") / 255.0
        y = y[:6400]
    else:
        rng = np.random.default_rng(0)
        x = rng.uniform(size=(6400, 28, 28, 1)).astype("float32")
        y = rng.integers(0, 10, 6400)
    layers = [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dense(10),
    ]
    return layers, x, y


def read_idx(path):
    """Reads a gzipped IDX file of MNIST."""
    import gzip

    raw = gzip.decompress(path.read_bytes())
    ndim = raw[3]
    shape = np.frombuffer(raw, ">u4", ndim, offset=4)
    return np.frombuffer(raw, "u1", offset=4 + 4 * ndim).reshape(shape)


def callbacks(name, x, y):
    """The callbacks of one contestant. Every one is set so that it changes nothing."""
    probe = (x[:256], y[:256])
    every = {
        "LayerwiseAdaptiveClipping": [kx.callbacks.LayerwiseAdaptiveClipping()],
        "GradientNormEarlyStopping": [
            kx.callbacks.GradientNormEarlyStopping(min_epochs=10**6)
        ],
        "AdaptiveDropout": [kx.callbacks.AdaptiveDropout(probe, probe)],
        "DynamicBatchSize (listed)": [
            kx.callbacks.DynamicBatchSize([(10**6, 2)], BATCH_SIZE)
        ],
        "DynamicBatchSize (noise scale)": [
            kx.callbacks.DynamicBatchSize("noise_scale", BATCH_SIZE, BATCH_SIZE)
        ],
    }
    if name == "plain":
        return []
    if name == "all four":
        del every["DynamicBatchSize (noise scale)"]
        return [callback for group in every.values() for callback in group]
    return every[name]


NAMES = (
    "plain",
    "LayerwiseAdaptiveClipping",
    "GradientNormEarlyStopping",
    "AdaptiveDropout",
    "DynamicBatchSize (listed)",
    "DynamicBatchSize (noise scale)",
    "all four",
)


def times_of_epochs(task, jit_compile, epochs):
    """From contestant to the times of each epoch but the first, which traces."""
    layers, x, y = task
    turns = Turns(len(NAMES))
    timers, threads = {}, []
    for place, name in enumerate(NAMES):
        model = keras.models.clone_model(keras.Sequential(layers))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=jit_compile)
        timers[name] = TakeTurns(turns, place)
        settings = {
            "batch_size": BATCH_SIZE,
            "epochs": epochs + 1,
            # The timer comes first, so that its epoch ends after all the others'.
            "callbacks": [timers[name], *callbacks(name, x, y)],
            "verbose": 0,
        }
        threads.append(threading.Thread(target=model.fit, args=(x, y), kwargs=settings))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {name: timer.times[1:] for name, timer in timers.items()}


def compare(times, plain, which):
    """Median and quartiles of the ratios of two contestants, turn by turn."""
    ratios = sorted(a[which] / b[which] for a, b in zip(times, plain, strict=True))
    quarter = len(ratios) // 4
    return statistics.median(ratios), ratios[quarter], ratios[-1 - quarter]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--data", help="folder with the IDX files of MNIST")
    parser.add_argument("--json", default="overhead.json")
    options = parser.parse_args()

    results = []
    for task_name, task in (("mlp", digits_mlp()), ("convnet", convnet(options.data))):
        steps = -(-len(task[1]) // BATCH_SIZE)
        for jit_compile in (False, True):
            times = times_of_epochs(task, jit_compile, options.epochs)
            plain = 1e3 * statistics.median(t[0] for t in times["plain"]) / steps
            print(
                f"\n{task_name}, jit_compile={jit_compile}: plain {plain:.3f} ms/step"
            )
            for name in NAMES:
                clock = compare(times[name], times["plain"], 0)
                cpu = compare(times[name], times["plain"], 1)
                columns = [f"{m:.3f} ({a:.3f} to {b:.3f})" for m, a, b in (clock, cpu)]
                print(f"  {name:32} clock {columns[0]}  processor {columns[1]}")
                results.append(
                    {
                        "task": task_name,
                        "jit_compile": jit_compile,
                        "callbacks": name,
                        "clock": clock,
                        "processor": cpu,
                        "times": times[name],
                    }
                )
    Path(options.json).write_text(
        json.dumps({"machine": platform.machine(), "results": results}, indent=1)
    )


if __name__ == "__main__":
    main()
