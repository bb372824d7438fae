"""What do two replicas, and two processes, cost in time and in bytes?

Alone it runs one process, with one replica or, with `--replicas 2`, two of
`MirroredStrategy` on the CPU. Started by `launch` it runs several processes:

    python benchmarks/distribute.py [--replicas 2]
    python -m keras_ext.distribute.launch --workers 2 benchmarks/distribute.py

Models with Adam take turns: Keras's own, a second one of it as a control, and the
`GradientPipeline` with accumulation of 1 and of 8; and Keras's own with a `LocalSGD`
that averages the weights every 8 steps. Printed is the median time of a step divided
by that of the first model in the same turn, with the quartiles; with
several processes also the bytes that went through the loopback interface for each step,
both directions of both workers, which is only right if nothing else uses it. Then the
time of reducing vectors of several sizes is measured, and `t = alpha + beta * bytes`
fitted to it.

Run with: `[--turns 9] [--steps 40] [--batch-size 64] [--width 512] [--json FILE]`
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_ext as kx
from benchmarks._intervals import ratios

SIZES = [1_000, 30_000, 300_000, 1_000_000, 3_000_000]


def optimizer(accumulation):
    plain = keras.optimizers.Adam(1e-3)
    if accumulation is None:
        return plain
    return kx.optimizers.GradientPipeline(plain, accumulation_steps=accumulation)


def loopback_bytes():
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(x for x in lines if x.strip().startswith("lo:")).split()[1])


class Steps(keras.callbacks.Callback):
    """Notes time and bytes from the ninth step to the last."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 8:  # a multiple of the accumulation
            self.begin = time.perf_counter(), loopback_bytes()

    def on_epoch_end(self, epoch, logs=None):
        steps = self.params["steps"] - 8
        end = time.perf_counter(), loopback_bytes()
        pairs = zip(self.begin, end, strict=True)
        self.per_step = [(b - a) / steps for a, b in pairs]


def model_of(options, accumulation):
    width = options.width
    layers = [keras.Input((width,)), keras.layers.Dense(width, "relu")]
    model = keras.Sequential([*layers, keras.layers.Dense(width)])
    model.compile(optimizer(accumulation), "mse", jit_compile=False)
    return model


def steps(options):
    samples = options.steps * options.batch_size
    x = np.random.default_rng(0).normal(size=(samples, options.width))
    x = x.astype("float32")
    names = {"Keras": None, "Keras again": None, "pipeline": 1, "pipeline, 8": 8}
    models = {name: model_of(options, k) for name, k in names.items()}
    models["LocalSGD, 8"] = model_of(options, None)
    found = {name: [] for name in models}
    for turn in range(options.turns + 1):
        for name, model in models.items():
            # The timer comes first: what is averaged between epochs is not counted.
            callbacks = [timer := Steps()]
            if name == "LocalSGD, 8":
                callbacks.append(kx.callbacks.LocalSGD(8))
            data = {"batch_size": options.batch_size, "shuffle": False}
            model.fit(x, x, callbacks=callbacks, verbose=0, **data)
            if turn:  # the first one traces
                found[name].append(timer.per_step)
    return found, models["Keras"].count_params() * 4


def reductions(strategy, repeats=20):
    """The median time of reducing a vector, for each of some numbers of bytes."""

    @tf.function
    def reduce(size):
        def sum_(x):
            return tf.distribute.get_replica_context().all_reduce("SUM", x)

        return strategy.run(lambda: sum_(tf.ones((size,)))[0])

    rows = []
    for size in SIZES:
        times = []
        for _ in range(repeats):
            begin = time.perf_counter()
            tf.nest.map_structure(
                lambda x: x.numpy(), strategy.experimental_local_results(reduce(size))
            )
            times.append(time.perf_counter() - begin)
        rows.append((4 * size, statistics.median(times[1:])))
    return rows


def compared(found):
    """Median and quartiles of the times divided by those of the first, and bytes."""
    base = [t for t, _ in next(iter(found.values()))]
    for name, turns in found.items():
        median, *spread = ratios([t for t, _ in turns], base)
        passed = statistics.median(n for _, n in turns)
        yield name, median, spread, passed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.replicas > 1:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * options.replicas,
        )
    devices = [f"CPU:{i}" for i in range(options.replicas)]
    kind = "auto" if options.replicas == 1 else tf.distribute.MirroredStrategy(devices)
    with kx.distribute.MultiWorker(kind, seed=0) as strategy:
        found, weights = steps(options)
        rows = reductions(strategy) if strategy.num_replicas_in_sync > 1 else []
        if not kx.distribute.is_chief():
            return
    base = statistics.median(t for t, _ in found["Keras"])
    print(
        f"{strategy.num_replicas_in_sync} replicas, {weights / 1e6:.2f} MB of weights"
    )
    print(f"a step of Keras: {1e3 * base:.2f} ms")
    for name, ratio, (low, high), passed in compared(found):
        print(f"  {name:12} {ratio:.3f} ({low:.3f} to {high:.3f})", end="")
        print(f"  {passed / 1e6:.3f} MB a step through the loopback interface")
    if rows:
        beta, alpha = np.polyfit(*zip(*rows, strict=True), 1)
        print(f"  reducing: {1e3 * alpha:.2f} ms + {1e9 * beta:.2f} ms for each MB")
        for size, seconds in rows:
            print(f"    {size / 1e6:7.3f} MB  {1e3 * seconds:7.2f} ms")
    if options.json:
        Path(options.json).write_text(json.dumps({"steps": found, "reduce": rows}))


if __name__ == "__main__":
    main()
