"""How much time does drawing batches with `DynamicBatches` cost, at a fixed size?

A model that gets arrays, one that gets them as `DynamicBatches`, one that gets a
`tf.data.Dataset` of batches, one that gets samples of such a dataset as
`DynamicBatches`, and a second one with arrays as a control, take turns in one process.
A turn is one epoch of `fit`, timed from the first batch to the last; the beginning of
`fit`, before the first batch, is timed apart. The times are divided by those of the
arrays (or, for the last, of the dataset) in the same turn; printed is the median of
these ratios, with the quartiles, of the time on the clock and of the processor time. A
ratio is only as good as that of the control is near 1.

Run: `python benchmarks/batches.py [--turns 15] [--batch-size 32] [--samples 6400]
[--models mlp convnet] [--jit] [--prefetch 1] [--json FILE]`
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_ext as kx
from benchmarks._intervals import ratios


def mlp(rng, samples):
    """A small perceptron on 64 features: little to do for each batch."""
    layers = [
        keras.Input((64,)),
        keras.layers.Dense(128, "relu"),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dense(10),
    ]
    return layers, rng.normal(size=(samples, 64)).astype("float32")


def convnet(rng, samples):
    """A small convnet on images of 28 x 28 pixels."""
    layers = [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dense(10),
    ]
    return layers, rng.uniform(size=(samples, 28, 28, 1)).astype("float32")


class Timer(keras.callbacks.Callback):
    """Notes the times of the second batch and of the end of the epoch."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 1:  # the first one also waits for the data to be shuffled
            self.second = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter(), time.process_time()
        self.epoch = [b - a for a, b in zip(self.second, now, strict=True)]


class Contestant:
    """A model that trains an epoch when it is told to."""

    def __init__(self, make_model, data, options, **arguments):
        layers, _ = make_model(np.random.default_rng(0), 1)
        self.model = keras.Sequential(layers)
        self.model.compile(
            keras.optimizers.Adam(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=options.jit,
        )
        self.data = data
        self.arguments = arguments

    def turn(self):
        timer = Timer()
        start = time.perf_counter()
        self.model.fit(**self.data, callbacks=[timer], verbose=0, **self.arguments)
        return *timer.epoch, timer.second[0] - start


def contestants(make_model, options):
    rng = np.random.default_rng(0)
    _, x = make_model(rng, options.samples)
    y = rng.integers(0, 10, len(x))
    size = options.batch_size
    made = {"batch_size": size, "prefetch": options.prefetch}
    samples = tf.data.Dataset.from_tensor_slices((x, y))
    batches = samples.shuffle(1000).batch(size).prefetch(tf.data.AUTOTUNE)
    arrays = {"x": x, "y": y}
    dynamic = kx.data.DynamicBatches(**arrays, **made)
    from_dataset = kx.data.DynamicBatches(samples, shuffle=1000, **made)
    return {
        "arrays": Contestant(make_model, arrays, options, batch_size=size),
        "arrays again": Contestant(make_model, arrays, options, batch_size=size),
        "DynamicBatches": Contestant(make_model, {"x": dynamic}, options),
        "dataset": Contestant(make_model, {"x": batches}, options, shuffle=False),
        "DynamicBatches of a dataset": Contestant(
            make_model, {"x": from_dataset}, options
        ),
    }


def compete(make_model, options):
    """Prints the ratios of all contestants, and returns them as rows."""
    models = contestants(make_model, options)
    times = {name: [] for name in models}
    for turn in range(options.turns + 1):
        for name, model in models.items():
            seconds = model.turn()
            if turn:  # the first one traces
                times[name].append(seconds)
    steps = -(-options.samples // options.batch_size) - 1
    plain = statistics.median(t[0] for t in times["arrays"]) / steps
    title = make_model.__name__
    print(f"\n{title}, jit_compile={options.jit}: {1e3 * plain:.2f} ms a step")
    rows = []
    for name in models:
        base = times["dataset" if name.endswith("of a dataset") else "arrays"]
        clock, cpu = (
            ratios([t[i] for t in times[name]], [t[i] for t in base]) for i in (0, 1)
        )
        first = statistics.median(t[2] for t in times[name])
        columns = [f"{m:.3f} ({a:.3f} to {b:.3f})" for m, a, b in (clock, cpu)]
        print(
            f"  {name:30} clock {columns[0]}  processor {columns[1]}"
            f"  until the second step {1e3 * first:.0f} ms",
            flush=True,
        )
        rows.append(
            {
                "model": title,
                "jit_compile": options.jit,
                "batch_size": options.batch_size,
                "name": name,
                "clock": clock,
                "processor": cpu,
                "seconds_until_second_step": first,
                "seconds": times[name],
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=["mlp", "convnet"])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--samples", type=int, default=6400)
    parser.add_argument("--prefetch", type=int, default=1)
    parser.add_argument("--jit", action="store_true")
    parser.add_argument("--json", default="batches.json")
    options = parser.parse_args()
    rows = []
    for name in options.models:
        rows += compete({"mlp": mlp, "convnet": convnet}[name], options)
    Path(options.json).write_text(
        json.dumps({"machine": platform.machine(), "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
