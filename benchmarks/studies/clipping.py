"""Does clipping that adapts to each layer help, and which rule?

Experiments on the digits of scikit-learn, each with every rule, several learning
rates and seeds:

- perceptrons of 20, 50 and 100 layers without any normalization;
- a small convnet (`plain`), also with heavy-tailed noise (Student's t with 2 degrees of
  freedom) that is added to the gradient of one layer, before the rule (`noise`).

Printed per rule: the largest learning rate of the grid that is stable (training ends
with a lower loss than it began, for every seed); and for the learning rate with the
best mean accuracy on the validation data, the accuracy on the test data with its 95 %
confidence interval, and the steps until the training loss was below the target.

Run: `python benchmarks/studies/clipping.py [--seeds 5] [--steps 200] [--json FILE]
[--only 20,50,100,noise,plain] [--clipping 0.01,0.1]`. With `--clipping` the rules are
no clipping, and adaptive clipping with each of these values.

All seeds and learning rates of one rule share a compiled step: weights, state and
learning rate are put back in between.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_ext as kx
from benchmarks._data import digits, train_validation_test
from benchmarks._intervals import half_interval

BATCH_SIZE = 64
STEPS_PER_LOOK = 10
TARGET = 0.5  # of the training loss; chance is 2.3
LEARNING_RATES = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
MOMENTUM = 0.9
# Chosen so that the noise is felt: several times the norm of the gradient.
NOISE = 0.05

RULES = {
    "none": lambda: None,
    "norm of all, 1": lambda: kx.gradients.ClipByGlobalNorm(1.0),
    "norm of each weight, 0.1": lambda: kx.gradients.ClipByNorm(0.1),
    "AGC, unit": lambda: kx.gradients.AdaptiveClip(0.01),
    "AutoClip, all": lambda: kx.gradients.AutoClip(),
    "AutoClip, each weight": lambda: kx.gradients.AutoClip(per="tensor"),
    "AdaGC, each weight": lambda: kx.gradients.AdaGC(warmup_steps=20),
    "ZClip, all": lambda: kx.gradients.ZClip(),
    "ZClip, each weight": lambda: kx.gradients.ZClip(per="tensor"),
}


@keras.saving.register_keras_serializable("keras_ext_studies")
class HeavyTailedNoise(kx.gradients.GradientTransform):
    """Adds Student's t noise to the gradient of the chosen weights."""

    def build(self, variables, unit_axes):
        super().build(variables, unit_axes)
        self.step = self.add_state((), "step")

    def transform(self, gradients, variables):
        self.step.assign(self.step + 1.0)
        count = tf.cast(self.step.value, "int32")
        return [
            g + NOISE * self.sample(g.shape, count, i) for i, g in enumerate(gradients)
        ]

    def sample(self, shape, count, i):
        """A normal number divided by the root of an exponential one is t with df=2."""
        normal = tf.random.stateless_normal(shape, [count, 2 * i])
        uniform = tf.random.stateless_uniform(shape, [count, 2 * i + 1], minval=1e-7)
        return normal / tf.sqrt(-tf.math.log(uniform))


def perceptron(depth):
    hidden = [
        keras.layers.Dense(32, "relu", kernel_initializer="he_normal")
        for _ in range(depth - 1)
    ]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])


def convnet():
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="noisy"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(10),
        ]
    )


class Trainer:
    """Trains one kind of model with one rule, again and again from the start."""

    def __init__(self, make_model, transforms, data):
        self.model = make_model()
        self.x, self.y = data["train"]
        self.data = data
        optimizer = kx.optimizers.GradientPipeline(
            keras.optimizers.SGD(0.1, momentum=MOMENTUM),
            transforms=transforms,
            unit_axes=kx.optimizers.unit_axes(self.model),
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(
            optimizer,
            loss,
            metrics=["accuracy"],
            steps_per_execution=STEPS_PER_LOOK,
        )
        optimizer.build(self.model.trainable_variables)
        self.fresh = [keras.ops.convert_to_numpy(v).copy() for v in optimizer.variables]

    def restart(self, seed, learning_rate):
        rng = np.random.default_rng(seed)
        for v in self.model.trainable_variables:
            std = 0.0 if len(v.shape) == 1 else math.sqrt(2 / math.prod(v.shape[:-1]))
            v.assign(std * rng.normal(size=v.shape))
        optimizer = self.model.optimizer
        for v, value in zip(optimizer.variables, self.fresh, strict=True):
            v.assign(value)
        optimizer.learning_rate = learning_rate

    def run(self, seed, learning_rate, steps):
        self.restart(seed, learning_rate)
        batches = (
            tf.data.Dataset.from_tensor_slices((self.x, self.y))
            .shuffle(len(self.x), seed=seed)
            .repeat()
            .batch(BATCH_SIZE)
        )
        history = self.model.fit(
            batches,
            steps_per_epoch=STEPS_PER_LOOK,
            epochs=steps // STEPS_PER_LOOK,
            shuffle=False,  # the batches are
            verbose=0,
        ).history["loss"]
        reached = [i for i, loss in enumerate(history) if loss < TARGET]
        start = math.log(10)
        scores = {
            part: self.model.evaluate(*self.data[part], verbose=0, batch_size=1024)[1]
            for part in ("validation", "test")
        }
        return {
            "learning_rate": learning_rate,
            "seed": seed,
            "stable": bool(math.isfinite(history[-1]) and history[-1] < start),
            "steps_to_target": STEPS_PER_LOOK * (reached[0] + 1) if reached else None,
            **scores,
        }


def real_data():
    parts = train_validation_test(*digits())
    return dict(zip(("train", "validation", "test"), parts, strict=True))


def summarize(runs):
    """What the table shows of all the runs of one rule."""
    rates = sorted({r["learning_rate"] for r in runs})
    groups = [[r for r in runs if r["learning_rate"] == rate] for rate in rates]
    stable = [
        rate
        for rate, group in zip(rates, groups, strict=True)
        if all(r["stable"] for r in group)
    ]
    best = max(groups, key=lambda g: statistics.mean(r["validation"] for r in g))
    scores = [100 * r["test"] for r in best]
    steps = [r["steps_to_target"] for r in best]
    reached = [s for s in steps if s is not None]
    return {
        "largest_stable": stable[-1] if stable else None,
        "best_rate": best[0]["learning_rate"],
        "accuracy": statistics.mean(scores),
        "half_interval": half_interval(scores),
        "steps_to_target": statistics.mean(reached) if reached else None,
        "reached": f"{len(reached)} of {len(steps)}",
    }


def rules(options):
    if not options.clipping:
        return RULES
    adaptive = {
        f"AGC, unit, {value}": lambda value=value: kx.gradients.AdaptiveClip(value)
        for value in map(float, options.clipping.split(","))
    }
    return {"none": RULES["none"], **adaptive}


def experiment(title, make_model, first, data, options):
    print(f"\n{title}")
    print(
        f"  {'rule':26}{'largest stable':>15}{'best':>7}{'test accuracy, %':>18}"
        f"{'steps to target':>17}{'reached it':>12}"
    )
    results = []
    for rule, make in rules(options).items():
        clip = make()
        transforms = [*(t() for t in first), *([clip] if clip else [])]
        trainer = Trainer(make_model, transforms, data)
        runs = [
            trainer.run(seed, rate, options.steps)
            for rate in LEARNING_RATES
            for seed in range(options.seeds)
        ]
        s = summarize(runs)
        accuracy = f"{s['accuracy']:.1f} ± {s['half_interval']:.1f}"
        steps = "-" if s["steps_to_target"] is None else f"{s['steps_to_target']:.0f}"
        largest = s["largest_stable"] or "none"
        print(
            f"  {rule:26}{largest:>15}{s['best_rate']:>7}{accuracy:>18}"
            f"{steps:>17}{s['reached']:>12}",
            flush=True,
        )
        results.append({"experiment": title, "rule": rule, **s, "runs": runs})
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", default="20,50,100,noise")
    parser.add_argument("--clipping")
    parser.add_argument("--json", default="clipping.json")
    options = parser.parse_args()
    data = real_data()
    results = []
    for name in options.only.split(","):
        if name == "noise":
            noise = [lambda: HeavyTailedNoise(include="noisy/kernel")]
            title = "convnet, heavy-tailed noise in one layer"
            results += experiment(title, convnet, noise, data, options)
        elif name == "plain":
            results += experiment("convnet", convnet, [], data, options)
        else:
            title = f"perceptron of {name} layers"
            make_model = lambda depth=int(name): perceptron(depth)  # noqa: E731
            results += experiment(title, make_model, [], data, options)
    Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
