"""Does a batch that grows while training save time, updates or samples?

Three experiments with a small perceptron and SGD with momentum:

- `curve`: the fewest updates to a target, for each fixed batch size at its own best
  learning rate, and the curve `S_min * (1 + B_crit / B)` through them. Is `B_crit` the
  gradient noise scale that was measured on the way?
- `decay`: a learning rate that decays in stages, and the batch that grows in its
  place. Are the losses the same, with how many fewer updates?
- `policies`: time, updates and samples to the target for each policy, which begins
  with a batch of 32 and may grow it to 1024, against the best and the median fixed
  size of 16, 32, ..., 1024. Everybody is tuned in the same way: of the learning rates
  of the grid the one with which most seeds reach the target is taken, and among equals
  the one with the shortest mean time (for `curve`: the fewest updates).

The target is an accuracy on the validation data, which is looked at once per epoch;
when it was reached is interpolated. Time is that of the processor, which other programs
disturb least, in training alone: without validation, and without the first step, which
is traced.

Run: `python benchmarks/studies/batch_size.py [--data mnist10k DIR] [--seeds 5]
[--epochs 30] [--rates 0.02,0.05,0.1,0.2,0.5] [--sizes 16,32,...] [--only curve,decay]
[--json FILE]`

Without `--data` it takes the digits of scikit-learn.
"""

import argparse
import gzip
import json
import math
import statistics
import time
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_ext as kx
from keras_ext.controllers import batch_size as policies

MOMENTUM = 0.9
START, MOST = 32, 1024

POLICIES = {
    "Staged": lambda: policies.Staged([(3, 2), (6, 4), (9, 8), (12, 16)]),
    "AdaBatch": lambda: policies.AdaBatch(every=5),
    "OnPlateau": lambda: policies.OnPlateau("loss", patience=1, min_delta=0.02),
    "GradientNoiseScale": lambda: policies.GradientNoiseScale(),
    "GradientDiversity": lambda: policies.GradientDiversity(),
    "CABS": lambda: policies.CABS(),
    "NormTest": lambda: policies.NormTest(),
    "InnerProductTest": lambda: policies.InnerProductTest(),
    "AdAdaGrad": lambda: policies.AdAdaGrad(eta=0.5),
}


def digits():
    data = load_digits()
    x, x_test, y, y_test = train_test_split(
        (data.data / 16.0).astype("float32"), data.target, random_state=0
    )
    x, x_val, y, y_val = train_test_split(x, y, random_state=0)
    return (x, y), (x_val, y_val), (x_test, y_test)


def mnist10k(folder):
    """The 10,000 images: 7,000 to train with, 1,000 to validate, 2,000 to test."""

    def read(name, header):
        raw = gzip.decompress(Path(folder, f"mnist10k-{name}-ubyte.gz").read_bytes())
        return np.frombuffer(raw, "uint8", offset=header)

    x = read("images-idx3", 16).reshape(-1, 784).astype("float32") / 255.0
    y = read("labels-idx1", 8).astype("int32")
    parts = (slice(7000), slice(7000, 8000), slice(8000, None))
    return tuple((x[part], y[part]) for part in parts)


class Clock(keras.callbacks.Callback):
    """Time, updates and samples of training, at the end of each epoch."""

    def __init__(self, num_samples):
        super().__init__()
        self.num_samples = num_samples
        self.rows = []
        self.spent, self.started = 0.0, None
        self.is_traced = False

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.process_time() if self.is_traced else None

    def on_train_batch_begin(self, batch, logs=None):
        if batch > 0 and self.started is None:
            self.started = time.process_time()

    def on_test_begin(self, logs=None):
        self.is_traced = True
        if self.started is not None:
            self.spent += time.process_time() - self.started

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(
            {
                "time": self.spent,
                "updates": int(self.model.optimizer.iterations),
                "samples": (epoch + 1) * self.num_samples,
                **{name: float(value) for name, value in logs.items()},
            }
        )


class Trainer:
    """Trains one model again and again from the start."""

    def __init__(self, data, epochs):
        self.train, self.validation, self.test = data
        self.epochs = epochs
        width = self.train[0].shape[1]
        self.model = keras.Sequential(
            [
                keras.Input((width,)),
                keras.layers.Dense(64, "relu"),
                keras.layers.Dense(64, "relu"),
                keras.layers.Dense(10),
            ]
        )

    def run(self, seed, rate, size, callbacks=(), batches=None):
        """Trains with a learning rate or schedule; returns what there was by epoch."""
        keras.utils.set_random_seed(seed)
        for weight in self.model.weights:
            fan_in = weight.shape[0] if len(weight.shape) == 2 else math.inf
            weight.assign(np.random.normal(0, math.sqrt(2 / fan_in), weight.shape))
        self.model.compile(
            keras.optimizers.SGD(rate, MOMENTUM),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        clock = Clock(len(self.train[0]))
        where = (
            {"x": batches}
            if batches is not None
            else {"x": self.train[0], "y": self.train[1], "batch_size": size}
        )
        self.model.fit(
            **where,
            epochs=self.epochs,
            validation_data=self.validation,
            validation_batch_size=1024,
            callbacks=[*callbacks, clock],
            verbose=0,
        )
        test = self.model.evaluate(*self.test, batch_size=1024, verbose=0)[1]
        return {"seed": seed, "rate": str(rate), "test": test, "epochs": clock.rows}

    def dynamic(self, seed, rate, policy, **options):
        """Trains with a policy, in batches that really grow."""
        batches = kx.data.DynamicBatches(
            *self.train, batch_size=START, seed=seed, max_batch_size=MOST
        )
        grow = kx.callbacks.DynamicBatchSize(
            policy, mode="auto", data=batches, max_batch_size=MOST, **options
        )
        return self.run(seed, rate, START, [grow], batches)


def at_target(run, target):
    """Time, updates and samples when the target was reached, or None."""
    last = {"time": 0.0, "updates": 0, "samples": 0, "val_accuracy": 0.1}
    for epoch in run["epochs"]:
        if epoch["val_accuracy"] >= target:
            rise = epoch["val_accuracy"] - last["val_accuracy"]
            part = (target - last["val_accuracy"]) / rise
            names = ("time", "updates", "samples")
            return {n: last[n] + part * (epoch[n] - last[n]) for n in names}
        last = epoch
    return None


def tuned(runs, target, by):
    """What the best learning rate needs to reach the target, in the mean of seeds."""
    candidates = []
    for rate in {run["rate"] for run in runs}:
        group = [run for run in runs if run["rate"] == rate]
        reached = [e for e in (at_target(run, target) for run in group) if e]
        if reached:
            means = {
                name: statistics.mean(e[name] for e in reached)
                for name in ("time", "updates", "samples")
            }
            candidates.append(
                {
                    "rate": rate,
                    "reached": len(reached),
                    **means,
                    "test": statistics.mean(run["test"] for run in group),
                }
            )
    if not candidates:
        return None
    return min(candidates, key=lambda c: (-c["reached"], c[by]))


def show(name, row, seeds):
    if row is None:
        print(f"  {name:20} never reached the target", flush=True)
        return
    print(
        f"  {name:20}{row['rate']:>7}{row['time']:>9.2f}{row['updates']:>9.0f}"
        f"{row['samples']:>10.0f}{100 * row['test']:>11.1f}"
        f"{row['reached']:>7} of {seeds}",
        flush=True,
    )


def header(title):
    print(f"\n{title}")
    print(
        f"  {'':20}{'rate':>7}{'time, s':>9}{'updates':>9}{'samples':>10}"
        f"{'test acc, %':>11}{'reached':>12}"
    )


def fixed_runs(trainer, options):
    sizes = [s for s in options.sizes if s <= len(trainer.train[0])]
    return {
        size: [
            trainer.run(seed, rate, size)
            for rate in options.rates
            for seed in range(options.seeds)
        ]
        for size in sizes
    }


def curve(trainer, fixed, options):
    header("curve: updates to the target, fixed sizes")
    rows = {s: tuned(runs, options.target, "updates") for s, runs in fixed.items()}
    for size, row in rows.items():
        show(f"fixed {size}", row, options.seeds)
    known = {s: r["updates"] for s, r in rows.items() if r}
    if len(known) < 3:
        print("  too few sizes reached the target for a curve")
        return {"rows": rows}
    # Relative errors of S_min + S_min * B_crit / B, by least squares.
    sizes, updates = (np.array(list(x), float) for x in (known, known.values()))
    columns = np.stack([np.ones_like(sizes), 1 / sizes], axis=1) / updates[:, None]
    (least, slope), *_ = np.linalg.lstsq(columns, np.ones_like(sizes), rcond=None)
    critical = slope / least if least > 0 else math.inf
    simple = noise_scale(trainer, rows, options)
    print(
        f"  S_min {least:.0f} updates, B_crit {critical:.0f}; the noise scale up to "
        f"the target {simple:.0f}; B_crit / B_simple {critical / simple:.2f}"
    )
    return {"rows": rows, "S_min": least, "B_crit": critical, "B_simple": simple}


def noise_scale(trainer, rows, options):
    """Median over seeds and epochs before the target, at the size to start with."""
    row = rows.get(START) or next(r for r in rows.values() if r)
    found = []
    for seed in range(options.seeds):
        # Four micro-batches make the batch, so that they can be compared.
        measure = kx.callbacks.DynamicBatchSize(
            policies.Staged([(0, 4), (10**6, policies.GradientNoiseScale())]),
            START // 4,
        )
        run = trainer.run(seed, float(row["rate"]), START // 4, [measure])
        for epoch in run["epochs"]:
            found.append(epoch["noise_scale"])
            if epoch["val_accuracy"] >= options.target:
                break
    found = [x for x in found if math.isfinite(x)]
    return statistics.median(found) if found else math.nan


def decay(trainer, options):
    """The rate divided by 4 after a fifth and a half, or the batch multiplied."""
    steps = math.ceil(len(trainer.train[0]) / START)
    rate = options.decay_rate
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [int(options.epochs * part) * steps - 1 for part in (0.2, 0.5)],
        [rate, rate / 4, rate / 16],
    )
    ways = {
        "decay": lambda seed: trainer.run(seed, schedule, START),
        "growth": lambda seed: trainer.dynamic(
            seed, schedule, policies.DontDecayLearningRate()
        ),
    }
    runs = {w: [f(seed) for seed in range(options.seeds)] for w, f in ways.items()}
    losses = {
        way: np.array([[e["loss"] for e in run["epochs"]] for run in group])
        for way, group in runs.items()
    }
    updates = {w: g[0]["epochs"][-1]["updates"] for w, g in runs.items()}
    means = {way: curve.mean(axis=0) for way, curve in losses.items()}
    print("\ndecay: of the learning rate, or growth of the batch in its place")
    for way, group in runs.items():
        test = 100 * statistics.mean(run["test"] for run in group)
        spent = statistics.mean(run["epochs"][-1]["time"] for run in group)
        print(
            f"  {way:10} loss at the end {means[way][-1]:.4f} ± "
            f"{losses[way][:, -1].std(ddof=min(1, options.seeds - 1)):.4f}, "
            f"test accuracy {test:.1f} %, {updates[way]} updates, {spent:.2f} s"
        )
    largest = np.max(np.abs(means["decay"] - means["growth"]))
    print(
        f"  largest difference of the mean losses {largest:.4f}; "
        f"{updates['decay'] / updates['growth']:.2f} times fewer updates"
    )
    return {w: [run["epochs"] for run in group] for w, group in runs.items()}


def compare(trainer, fixed, options):
    header("policies: what is needed to reach the target")
    rows = {}
    for size, runs in fixed.items():
        rows[f"fixed {size}"] = tuned(runs, options.target, "time")
        show(f"fixed {size}", rows[f"fixed {size}"], options.seeds)
    reached = sorted(r["time"] for r in rows.values() if r)
    for name, make in POLICIES.items():
        scaling = "none" if name in ("AdaBatch", "CABS") else options.scaling
        runs = [
            trainer.dynamic(
                seed, rate, make(), learning_rate_scaling=scaling, every=options.every
            )
            if name not in ("Staged", "AdaBatch", "OnPlateau")
            else trainer.dynamic(seed, rate, make(), learning_rate_scaling=scaling)
            for rate in options.rates
            for seed in range(options.seeds)
        ]
        rows[name] = tuned(runs, options.target, "time")
        show(name, rows[name], options.seeds)
        if rows[name]:
            rows[name]["sizes"] = [e["batch_size"] for e in runs[-1]["epochs"]]
    start = rows.get(f"fixed {START}")
    for name in POLICIES:
        if rows[name] and reached and start:
            print(
                f"  {name}: {rows[name]['time'] / start['time']:.2f} of the time of "
                f"fixed {START}, {rows[name]['time'] / reached[0]:.2f} of the best "
                f"fixed size, {rows[name]['time'] / statistics.median(reached):.2f} of "
                "the median one"
            )
    return rows


def main():
    numbers = lambda kind: lambda text: [kind(x) for x in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs=2, metavar=("mnist10k", "DIR"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rates", type=numbers(float), default=[0.02, 0.05, 0.1, 0.2])
    parser.add_argument(
        "--sizes", type=numbers(int), default=[16, 32, 64, 128, 256, 512, 1024]
    )
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--decay-rate", type=float, default=0.02)
    parser.add_argument("--scaling", default="adascale")
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--only", default="curve,decay,policies")
    parser.add_argument("--json", default="batch_size.json")
    options = parser.parse_args()
    if options.data and options.data[0] != "mnist10k":
        parser.error("the only data that can be read are: mnist10k DIR")
    data = mnist10k(options.data[1]) if options.data else digits()
    trainer = Trainer(data, options.epochs)
    only = options.only.split(",")
    fixed = fixed_runs(trainer, options) if {"curve", "policies"} & set(only) else {}
    results = {"options": vars(options)}
    if "curve" in only:
        results["curve"] = curve(trainer, fixed, options)
    if "decay" in only:
        results["decay"] = decay(trainer, options)
    if "policies" in only:
        results["policies"] = compare(trainer, fixed, options)
    Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
