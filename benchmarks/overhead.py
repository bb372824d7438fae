"""How much time do the callbacks add to a training step?

Plain `fit`, `fit` with each callback, and with all four, each in a process of its own,
take turns by epochs in one run, so that a busy machine slows all of them. The time of
an epoch is divided by that of the plain epoch of the same turn. Printed is the median
of these ratios, with the quartiles: of the time on the clock, and of the processor
time, which other programs on the machine disturb less. What a callback does at the end
of an epoch counts; tracing does not.

Run: `python benchmarks/overhead.py [--epochs 15] [--data DIR] [--json FILE]`

Prints the ratios and writes them, with the times, as JSON. With `--data`, the convnet
trains on the MNIST images (IDX files) in DIR, otherwise on images of noise: the time is
the same.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_ext as kx

BATCH_SIZE = 32


class TakeTurns(keras.callbacks.Callback):
    """Trains an epoch when it is told to on standard input, and prints its times."""

    _start = None

    def on_epoch_begin(self, epoch, logs=None):
        self._end_turn()
        input()
        self._start = time.perf_counter(), time.process_time()

    def on_train_end(self, logs=None):
        self._end_turn()

    def _end_turn(self):
        if self._start:
            now = time.perf_counter(), time.process_time()
            print(*(b - a for a, b in zip(self._start, now, strict=True)), flush=True)


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
        x = x[:3200, ..., None].astype("float32") / 255.0
        y = y[:3200]
    else:
        rng = np.random.default_rng(0)
        x = rng.uniform(size=(3200, 28, 28, 1)).astype("float32")
        y = rng.integers(0, 10, 3200)
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


def train(name, task_name, jit_compile, options):
    """One contestant, in a process of its own."""
    layers, x, y = digits_mlp() if task_name == "mlp" else convnet(options.data)
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=jit_compile)
    model.fit(
        x,
        y,
        batch_size=BATCH_SIZE,
        epochs=options.epochs + 1,
        # The timer comes first, so that its epoch ends after all the others'.
        callbacks=[TakeTurns(), *callbacks(name, x, y)],
        verbose=0,
    )


def times_of_epochs(task_name, jit_compile, options):
    """From contestant to the times of each epoch but the first, which traces."""
    command = [sys.executable, *sys.argv, "--contestant"]
    processes = {
        name: subprocess.Popen(
            [*command, name, task_name, str(int(jit_compile))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in NAMES
    }
    times = {name: [] for name in NAMES}
    for _ in range(options.epochs + 1):
        for name, process in processes.items():
            process.stdin.write("\n")
            process.stdin.flush()
            times[name].append([float(t) for t in process.stdout.readline().split()])
    for process in processes.values():
        process.communicate()
    return {name: epochs[1:] for name, epochs in times.items()}


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
    parser.add_argument("--contestant", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        name, task_name, jit_compile = options.contestant
        train(name, task_name, jit_compile == "1", options)
        return

    results = []
    for task_name in ("mlp", "convnet"):
        for jit_compile in (False, True):
            times = times_of_epochs(task_name, jit_compile, options)
            plain = statistics.median(t[0] for t in times["plain"])
            print(f"\n{task_name}, jit_compile={jit_compile}: {plain:.2f} s per epoch")
            for name in NAMES:
                clock = compare(times[name], times["plain"], 0)
                cpu = compare(times[name], times["plain"], 1)
                columns = [f"{m:.3f} ({a:.3f} to {b:.3f})" for m, a, b in (clock, cpu)]
                row = f"  {name:32} clock {columns[0]}  processor {columns[1]}"
                print(row, flush=True)
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
