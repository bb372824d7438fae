"""Does a batch that grows while training save time, updates or samples?

Three experiments with a small perceptron and SGD with momentum:

- `curve`: the fewest updates to a target, for each fixed batch size at its own best
  learning rate, and the curve `S_min * (1 + B_crit / B)` through them. Is `B_crit` the
  gradient noise scale that was measured on the way?
- `decay`: a learning rate that decays in stages, and the batch that grows in its
  place. Are the losses the same, with how many fewer updates?
- `policies`: time, updates and samples to the target for each policy, which begins
  with a batch of 32 and may grow it to 1024, against the best and the median fixed
  size of 16, 32, ..., 1024.

Everybody is tuned in the same way, with seeds of its own: from a learning rate of 0.05
it is doubled, and halved, for as long as that helps. The better rate is that with which
more seeds reach the target, and among equals the one with less updates (fixed sizes) or
time (policies). What is shown is measured with the other seeds at that rate.

The target is an accuracy on the validation data, which is looked at once per epoch;
when it was reached is interpolated. Time is that of the processor, which other programs
disturb least, in training alone: without validation, and without the first step, which
is traced.

Run: `python benchmarks/studies/batch_size.py [--data mnist10k DIR] [--seeds 5]
[--epochs 30] [--target 0.95] [--sizes 16,32,...] [--every 20]
[--only curve,decay,policies] [--json FILE]`

Without `--data` it takes the digits of scikit-learn.
"""

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx
from benchmarks import _data
from keras_ext.controllers import batch_size as policies

MOMENTUM = 0.9
FIRST_RATE = 0.05
START, MOST = 32, 1024

POLICIES = {
    "NoiseScale": lambda: policies.NoiseScale(),
    "GradientDiversity": lambda: policies.GradientDiversity(),
    "NormTest": lambda: policies.NormTest(),
    "InnerProductTest": lambda: policies.InnerProductTest(),
    "AdAdaGrad": lambda: policies.AdAdaGrad(eta=0.5),
    "CABS": lambda: policies.CABS(),
    "AdaBatch": lambda: policies.AdaBatch(every_epochs=5),
    "Staged": lambda: policies.Staged([(3, 2), (6, 4), (9, 8), (12, 16)]),
    "OnPlateau": lambda: policies.OnPlateau("loss", patience=1, min_delta=0.02),
}


def digits():
    return _data.train_validation_test(*_data.digits())


def mnist10k(folder):
    """The 10,000 images: 7,000 to train with, 1,000 to validate, 2,000 to test."""
    x, y = _data.mnist10k(folder)
    y = y.astype("int32")
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


class StopAt(keras.callbacks.Callback):
    """Ends a trial, of which nothing is needed beyond the target."""

    def __init__(self, target):
        super().__init__()
        self.target = target

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_accuracy"] >= self.target or not math.isfinite(logs["loss"]):
            self.model.stop_training = True


class Trainer:
    """Trains one model again and again from the start, at best without tracing it."""

    def __init__(self, data, epochs):
        self.train, self.validation, self.test = data
        self.epochs = epochs
        self.model = self.compiled(keras.optimizers.SGD(0.1, MOMENTUM))

    def compiled(self, optimizer):
        model = keras.Sequential(
            [
                keras.Input((self.train[0].shape[1],)),
                keras.layers.Dense(64, "relu"),
                keras.layers.Dense(64, "relu"),
                keras.layers.Dense(10),
            ]
        )
        model.compile(
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        optimizer.build(model.trainable_variables)
        return model

    def draw_weights(self, model, seed):
        keras.utils.set_random_seed(seed)
        for weight in model.weights:
            fan_in = weight.shape[0] if len(weight.shape) == 2 else math.inf
            weight.assign(np.random.normal(0, math.sqrt(2 / fan_in), weight.shape))

    def run(self, seed, rate, size, callbacks=(), batches=None, stop_at=None):
        """Trains with a learning rate or schedule; returns what there was by epoch."""
        model = self.model
        if isinstance(rate, float):
            for variable in model.optimizer.variables:
                variable.assign(keras.ops.zeros_like(variable))
            model.optimizer.learning_rate = rate
        else:
            model = self.compiled(keras.optimizers.SGD(rate, MOMENTUM))
        self.draw_weights(model, seed)
        clock = Clock(len(self.train[0]))
        where = (
            {"x": batches}
            if batches is not None
            else {"x": self.train[0], "y": self.train[1], "batch_size": size}
        )
        model.fit(
            **where,
            epochs=self.epochs,
            validation_data=self.validation,
            validation_batch_size=1024,
            callbacks=[*callbacks, clock, *([StopAt(stop_at)] if stop_at else [])],
            verbose=0,
        )
        test = model.evaluate(*self.test, batch_size=1024, verbose=0)[1]
        return {"seed": seed, "rate": str(rate), "test": test, "epochs": clock.rows}

    def dynamic(self, seed, rate, policy, stop_at=None, **options):
        """Trains with a policy, in batches that really grow."""
        batches = kx.data.DynamicBatches(
            *self.train, batch_size=START, seed=seed, max_batch_size=MOST
        )
        grow = kx.callbacks.DynamicBatchSize(
            policy, mode="auto", max_batch_size=MOST, **options
        )
        return self.run(seed, rate, START, [grow], batches, stop_at)


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


def summary(runs, target):
    """What a rate needs to reach the target, in the mean of the seeds that do."""
    reached = [e for e in (at_target(run, target) for run in runs) if e]
    if not reached:
        return None
    return {
        "rate": runs[0]["rate"],
        "reached": len(reached),
        **{name: statistics.mean(e[name] for e in reached) for name in reached[0]},
        "spread": statistics.stdev(e["time"] for e in reached) if reached[1:] else 0.0,
        "test": statistics.mean(run["test"] for run in runs),
        "runs": runs,
    }


def tuned(run, options, by):
    """The rate that is best for other seeds, and what it takes with the seeds."""
    costs = {}

    def cost(rate):
        if rate not in costs:
            seeds = range(1000, 1000 + options.tuning_seeds)
            runs = [run(seed, rate, stop_at=options.target) for seed in seeds]
            row = summary(runs, options.target)
            costs[rate] = (-row["reached"], row[by]) if row else (0, math.inf)
        return costs[rate]

    best = FIRST_RATE
    for factor in (2.0, 0.5):
        while cost(best * factor) < cost(best):
            best *= factor
    return summary([run(seed, best) for seed in range(options.seeds)], options.target)


def show(name, row, seeds):
    if row is None:
        print(f"  {name:20} never reached the target", flush=True)
        return
    print(
        f"  {name:20}{float(row['rate']):>7.4g}{row['time']:>7.2f} ± "
        f"{row['spread']:.2f}{row['updates']:>9.0f}{row['samples']:>10.0f}"
        f"{100 * row['test']:>11.1f}"
        f"{row['reached']:>7} of {seeds}",
        flush=True,
    )


def header(title):
    print(f"\n{title}")
    print(
        f"  {'':20}{'rate':>7}{'time, s':>14}{'updates':>9}{'samples':>10}"
        f"{'test acc, %':>11}{'reached':>12}"
    )


def fixed_rows(trainer, options):
    header("fixed sizes: what is needed to reach the target")
    rows = {}
    for size in (s for s in options.sizes if s <= len(trainer.train[0])):

        def run(seed, rate, stop_at=None, size=size):
            return trainer.run(seed, rate, size, stop_at=stop_at)

        rows[size] = tuned(run, options, "updates")
        show(f"fixed {size}", rows[size], options.seeds)
    return rows


def curve(trainer, rows, options):
    """Fits the curve to the fixed sizes.

    An epoch draws without replacement from N samples, and the noise of a batch of B is
    less than that of B independent ones by the factor (N - B) / (N - 1): in the curve,
    1 / B becomes 1 / B - 1 / N.
    """
    known = {s: r["updates"] for s, r in rows.items() if r}
    if len(known) < 3:
        print("  too few sizes reached the target for a curve")
        return {}
    # Relative errors of S_min + S_min * B_crit / B, by least squares.
    sizes, updates = (np.array(list(x), float) for x in (known, known.values()))
    inverse = 1 / sizes - 1 / len(trainer.train[0])
    columns = np.stack([np.ones_like(inverse), inverse], axis=1) / updates[:, None]
    (least, slope), *_ = np.linalg.lstsq(columns, np.ones_like(sizes), rcond=None)
    critical = slope / least if least > 0 else math.inf
    simple = noise_scale(trainer, rows, options)
    print(
        f"\ncurve: S_min {least:.0f} updates, B_crit {critical:.0f}; mean noise scale "
        f"up to the target {simple:.0f}; B_crit / B_simple {critical / simple:.2f}"
    )
    return {"S_min": least, "B_crit": critical, "B_simple": simple}


class NoiseRecorder(keras.callbacks.Callback):
    """Notes signal and noise of the gradient before every update."""

    def __init__(self, noise, accumulated):
        super().__init__()
        self.noise, self.accumulated = noise, accumulated
        self.parts = []

    def on_train_batch_begin(self, batch, logs=None):
        if batch % self.accumulated == 0:
            self.parts.append(self.noise.read_parts())


def noise_scale(trainer, rows, options):
    """Mean noise scale on the way to the target, at the size to start with.

    Where the noise scale is B_n, a batch of B makes 1 / (1 + B_n / B) of the way of an
    update without noise. The curve follows if these ways add up, with the mean of B_n
    over the way as B_crit. Signal and noise are averaged over the seeds before they
    are divided.
    """
    row, accumulated = rows[START], 4
    parts = []
    for seed in range(options.seeds):
        # Four micro-batches make the batch, so that they can be compared.
        noise = kx.signals.GradientNoiseScale(smoothing=0.8, min_samples=1)
        optimizer = kx.optimizers.GradientPipeline(
            keras.optimizers.SGD(float(row["rate"]), MOMENTUM),
            accumulation_steps=accumulated,
            signals=[noise],
        )
        model = trainer.compiled(optimizer)
        noise.unit.assign(START / accumulated)
        trainer.draw_weights(model, seed)
        recorder = NoiseRecorder(noise, accumulated)
        model.fit(
            *trainer.train,
            batch_size=START // accumulated,
            epochs=math.ceil(row["samples"] / len(trainer.train[0])),
            callbacks=[recorder],
            verbose=0,
        )
        parts.append(recorder.parts[1 : int(row["updates"]) + 1])
    signal, noise = np.mean(parts, axis=0).T
    known = signal > 0
    scale = noise[known] / signal[known]
    return np.average(scale, weights=1 / (1 + scale / START))


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
    for name, make in POLICIES.items():
        if options.policies and name not in options.policies:
            continue
        by_epoch = name in ("Staged", "AdaBatch", "OnPlateau")
        arguments = {
            "learning_rate_scaling": (
                "none" if name in ("AdaBatch", "CABS") else options.scaling
            ),
            "every": "epoch" if by_epoch else options.every,
        }

        def run(seed, rate, stop_at=None, make=make, arguments=arguments):
            return trainer.dynamic(seed, rate, make(), stop_at, **arguments)

        rows[name] = tuned(run, options, "time")
        show(name, rows[name], options.seeds)
    reached = sorted(r["time"] for r in fixed.values() if r)
    start = fixed.get(START)
    for name, row in rows.items():
        if row and reached and start:
            print(
                f"  {name}: {row['time'] / start['time']:.2f} of the time of fixed "
                f"{START}, {row['time'] / reached[0]:.2f} of the best fixed size, "
                f"{row['time'] / statistics.median(reached):.2f} of the median one"
            )
    return rows


def main():
    numbers = lambda kind: lambda text: [kind(x) for x in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs=2, metavar=("mnist10k", "DIR"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--tuning-seeds", type=int, default=3)
    parser.add_argument(
        "--sizes", type=numbers(int), default=[16, 32, 64, 128, 256, 512, 1024]
    )
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--decay-rate", type=float, default=0.02)
    parser.add_argument("--scaling", default="adascale")
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--only", default="curve,decay,policies")
    parser.add_argument("--policies", type=numbers(str), help="names, all otherwise")
    parser.add_argument("--json", default="batch_size.json")
    options = parser.parse_args()
    if options.data and options.data[0] != "mnist10k":
        parser.error("the only data that can be read are: mnist10k DIR")
    data = mnist10k(options.data[1]) if options.data else digits()
    trainer = Trainer(data, options.epochs)
    only = options.only.split(",")
    fixed = fixed_rows(trainer, options) if {"curve", "policies"} & set(only) else {}
    results = {"options": vars(options), "fixed": fixed}
    if "curve" in only:
        results["curve"] = curve(trainer, fixed, options)
    if "decay" in only:
        results["decay"] = decay(trainer, options)
    if "policies" in only:
        results["policies"] = compare(trainer, fixed, options)
    Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
