"""What does it save that the gradient of a large embedding stays sparse?

Trains an embedding of a million rows, with a mean over words and a dense layer behind
it: with Keras's optimizer alone, in a `GradientPipeline` that clips by the global norm
(rows stay rows), and in one whose clipping is per unit, which needs all rows. They take
turns by epochs in one process; printed are the medians of the ratios to the first, on
the clock.

Run: `python benchmarks/sparse_rows.py [--rows 1000000] [--width 32] [--turns 7]`
"""

import argparse
import time

import keras
import numpy as np

import keras_ext as kx
from benchmarks._intervals import ratios

OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(0.1),
    "SGD, momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "Adam": lambda: keras.optimizers.Adam(1e-3),
}
PIPELINES = {
    "Keras alone": lambda inner: inner,
    "clip globally": lambda inner: kx.optimizers.GradientPipeline(
        inner, [kx.gradients.ClipByGlobalNorm(1.0)]
    ),
    "clip per unit": lambda inner: kx.optimizers.GradientPipeline(
        inner, [kx.gradients.ClipByNorm(1.0, per="unit")]
    ),
}


def model(rows, width, optimizer):
    layers = [
        keras.Input((20,), dtype="int32"),
        keras.layers.Embedding(rows, width),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(1),
    ]
    made = keras.Sequential(layers)
    made.compile(optimizer, "mse")
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.integers(0, options.rows, (64 * 8, 20)).astype("int32")
    y = rng.normal(size=(len(x), 1)).astype("float32")
    for name, make in OPTIMIZERS.items():
        models = {
            pipeline: model(options.rows, options.width, put(make()))
            for pipeline, put in PIPELINES.items()
        }
        seconds = {pipeline: [] for pipeline in models}
        for turn in range(options.turns + 1):
            for pipeline, trained in models.items():
                start = time.perf_counter()
                trained.fit(x, y, batch_size=64, verbose=0)
                if turn:  # the first is traced
                    seconds[pipeline].append(time.perf_counter() - start)
        plain = seconds["Keras alone"]
        step = 1e3 * np.median(plain) / 8
        print(f"{name}: {step:.1f} ms a step with Keras alone")
        for pipeline, spent in seconds.items():
            mid, low, high = ratios(spent, plain)
            print(f"  {pipeline:15} {mid:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
