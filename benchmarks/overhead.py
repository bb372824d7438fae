"""How much time do callbacks and gradient transforms add to a training step?

A model without any, models with one each, and a second plain model as a control, take
turns by epochs in one process, so that whatever else the machine does slows all of
them. Callbacks, which have things to do once per epoch, are given epochs of 10000 rows,
the others of some dozens of steps. The time of an epoch is divided by that of the plain
epoch of the same turn; what a callback does after each batch and at the end of the
epoch counts, tracing does not. Printed is the median of these ratios, with the
quartiles: of the time on the clock, and of the processor time, which other programs
disturb less. A ratio is only as good as that of the control is near 1.

Run: `python benchmarks/overhead.py [callbacks] [transforms] [live] [depth] [--turns 15]
[--jit] [--model convnet] [--data DIR] [--json FILE]`

`depth` trains perceptrons of 10, 100 and 400 layers, and also prints the time until
the first step is done. `live` compares hyperparameters that `make_live` has made live
with those that are compiled in. With `--data`, the convnet trains on the MNIST images
(IDX files) in DIR, otherwise on images of noise: the time is the same.
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
from benchmarks._data import digits, mnist10k
from benchmarks._intervals import ratios

BATCH_SIZE = 32
# Steps per epoch: some tenths of a second.
STEPS = {"convnet": 50, "mlp": 300, "depth": 10}
CALLBACK_STEPS = {"convnet": 312, "mlp": 300}


def mlp(data):
    """A small perceptron on the digits of scikit-learn."""
    layers = [
        keras.Input((64,)),
        keras.layers.Dense(128, "relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(10),
    ]
    return layers, *digits()


def convnet(data):
    """A small convnet on images of 28 x 28 pixels."""
    if data:
        x, y = mnist10k(data, (28, 28, 1))
    else:
        rng = np.random.default_rng(0)
        x = rng.uniform(size=(10000, 28, 28, 1)).astype("float32")
        y = rng.integers(0, 10, 10000)
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


def regularized(make):
    """With batch normalization and L2, which have values to be live, too."""

    def make_regularized(data):
        layers, x, y = make(data)
        for layer in layers:
            if hasattr(layer, "kernel_regularizer"):
                layer.kernel_regularizer = keras.regularizers.L2(1e-4)
        return [*layers[:2], keras.layers.BatchNormalization(), *layers[2:]], x, y

    return make_regularized


def deep_mlp(num_layers):
    def make(data):
        hidden = [keras.layers.Dense(32, "relu") for _ in range(num_layers - 1)]
        x = np.random.default_rng(0).normal(size=(320, 32)).astype("float32")
        layers = [keras.Input((32,)), *hidden, keras.layers.Dense(10)]
        return layers, x, np.arange(320) % 10

    return make


def callbacks(x, y):
    """From name to callbacks, which are set so that they change nothing."""
    probe = (x[:256], y[:256])
    four = {
        "LayerwiseAdaptiveClipping": lambda: kx.callbacks.LayerwiseAdaptiveClipping(),
        "GradientNormEarlyStopping": lambda: kx.callbacks.GradientNormEarlyStopping(
            start_from_epoch=10**6
        ),
        "AdaptiveDropout": lambda: kx.callbacks.AdaptiveDropout(probe, probe),
        "DynamicBatchSize (listed)": lambda: kx.callbacks.DynamicBatchSize(
            [(10**6, 2)], batch_size=BATCH_SIZE
        ),
    }
    return {
        **{name: [make()] for name, make in four.items()},
        "DynamicBatchSize (noise scale)": [
            kx.callbacks.DynamicBatchSize(
                "noise_scale", batch_size=BATCH_SIZE, max_batch_size=BATCH_SIZE
            )
        ],
        "these four (listed)": [make() for make in four.values()],
        "GradientMonitor(every=50)": [kx.callbacks.GradientMonitor(every=50)],
    }


class Live(keras.callbacks.Callback):
    """Makes hyperparameters live."""

    def __init__(self, include=None):
        super().__init__()
        self.include = include

    def set_model(self, model):
        super().set_model(model)
        kx.make_live(model, include=self.include)


def live(x, y):
    """From name to what is live."""
    return {
        "all live": [Live()],
        "live, layers and losses": [Live(lambda knob: "optimizer" not in knob.path)],
        "live, optimizer": [Live("^optimizer")],
    }


class Transformed(kx.callbacks.GradientCallback):
    """Puts one transform into the step."""

    def __init__(self, transform):
        super().__init__()
        self.transform = transform

    def install(self, pipeline):
        pipeline.add_transform(self.transform)


def transforms(x, y):
    """From name to a callback that does nothing but transform."""
    g = kx.gradients
    every = [
        *(g.AdaptiveClip(), g.ClipByNorm(), g.ClipByGlobalNorm(), g.ClipByValue(1.0)),
        *(g.AutoClip(), g.AutoClip(per="tensor"), g.AdaGC(), g.ZClip()),
        *(g.ClipUpdateRMS(), g.CoordinateClip(), g.Centralize(), g.Standardize()),
        *(g.NormalizeByLayer(), g.AddNoise(), g.SkipSpikes(), g.SkipNonFinite()),
        *(g.Freeze(frozen=False), g.LayerwiseScale({"dense": 0.5})),
    ]
    return {
        type(t).__name__
        + (" per tensor" if getattr(t, "per", "") == "tensor" else ""): [Transformed(t)]
        for t in every
    }


def with_depth(x, y):
    """The callbacks whose work grows with the number of weights."""
    some = callbacks(x, y)
    kept = ("LayerwiseAdaptiveClipping", "GradientMonitor(every=50)")
    return {name: some[name] for name in kept}


class Contestant:
    """A model that trains an epoch when it is told to."""

    def __init__(self, make_model, contestants, name, jit_compile, data):
        layers, x, y = make_model(data)
        self.model = keras.Sequential(layers)
        self.model.compile(
            keras.optimizers.Adam(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit_compile,
        )
        chosen = contestants(x, y).get(name, [])
        self.callbacks = keras.callbacks.CallbackList(chosen, model=self.model)
        batches = tf.data.Dataset.from_tensor_slices((x, y)).repeat().batch(BATCH_SIZE)
        self.batches = iter(batches.prefetch(2))
        start = time.perf_counter()
        # `fit` builds loss and metrics before it traces; so does one evaluation.
        self.model.evaluate(x[:BATCH_SIZE], y[:BATCH_SIZE], verbose=0)
        self.callbacks.on_train_begin()
        self.epochs = 0
        self.epoch(1)
        self.seconds_to_first_step = time.perf_counter() - start

    def epoch(self, steps):
        """Trains as `fit` does, and returns the times on clock and processor."""
        step = self.model.make_train_function() or self.model.train_function
        start = time.perf_counter(), time.process_time()
        self.callbacks.on_epoch_begin(self.epochs)
        for i in range(steps):
            self.callbacks.on_train_batch_begin(i)
            logs = step(self.batches)
            self.callbacks.on_train_batch_end(i, logs)
        self.callbacks.on_epoch_end(self.epochs, {})
        self.epochs += 1
        now = time.perf_counter(), time.process_time()
        return [b - a for a, b in zip(start, now, strict=True)]


def compete(title, make_model, contestants, steps, options):
    """Prints the ratios of all contestants, and returns them as rows."""
    _, x, y = make_model(options.data)
    names = ["plain", "plain again", *contestants(x, y)]
    models = {
        name: Contestant(make_model, contestants, name, options.jit, options.data)
        for name in names
    }
    times = {name: [] for name in names}
    for turn in range(options.turns + 1):
        for name, model in models.items():
            if turn:
                times[name].append(model.epoch(steps))
            else:
                model.epoch(steps)  # not counted: caches are cold
    plain = statistics.median(t[0] for t in times["plain"]) / steps
    print(f"\n{title}, jit_compile={options.jit}: {1e3 * plain:.2f} ms a plain step")
    rows = []
    for name in names:
        clock, cpu = (
            ratios([t[i] for t in times[name]], [t[i] for t in times["plain"]])
            for i in (0, 1)
        )
        first = models[name].seconds_to_first_step
        columns = [f"{m:.3f} ({a:.3f} to {b:.3f})" for m, a, b in (clock, cpu)]
        print(
            f"  {name:32} clock {columns[0]}  processor {columns[1]}"
            f"  first step {first:.1f} s",
            flush=True,
        )
        rows.append(
            {
                "task": title,
                "jit_compile": options.jit,
                "name": name,
                "clock": clock,
                "processor": cpu,
                "seconds_to_first_step": first,
                "seconds_of_epochs": times[name],
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["callbacks"])
    parser.add_argument("--model", choices=["convnet", "mlp"], default="convnet")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--jit", action="store_true")
    parser.add_argument("--data", help="folder with the IDX files of MNIST")
    parser.add_argument("--json", default="overhead.json")
    options = parser.parse_args()

    make_model = {"convnet": convnet, "mlp": mlp}[options.model]
    rows = []
    for what in options.what:
        if what == "depth":
            for n in (10, 100, 400):
                title = f"{n} layers"
                rows += compete(title, deep_mlp(n), with_depth, STEPS["depth"], options)
        elif what == "live":
            steps = STEPS[options.model]
            rows += compete(options.model, make_model, live, steps, options)
            title = f"{options.model}, regularized"
            rows += compete(title, regularized(make_model), live, steps, options)
        else:
            contestants, lengths = {
                "callbacks": (callbacks, CALLBACK_STEPS),
                "transforms": (transforms, STEPS),
            }[what]
            steps = lengths[options.model]
            rows += compete(options.model, make_model, contestants, steps, options)
    Path(options.json).write_text(
        json.dumps({"machine": platform.machine(), "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
