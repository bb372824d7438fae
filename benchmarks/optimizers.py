"""How much time does an update take, with each optimizer, and what does it keep?

Updates alone, without a model around them: the gradients are given. All optimizers take
turns in one process, so that whatever else the machine does slows all of them, and the
time of a turn is divided by that of Keras's Adam in the same turn; a second Adam is the
control. Printed are medians of these ratios, with quartiles, how many operations the
traced step has for each weight, and the bytes kept for each number of the weights.
Where PyTorch is installed, and pytorch_optimizer, their implementation of the same rule
takes turns as well, and a column says how long ours takes on the clock relative to it.

`many` has 100 weights (50 kernels of 32 x 32 and their biases), where the number of
operations counts; `large` has two million numbers in four weights, where passes over
memory count; `more` has 400 weights like `many`, to see how time grows.

Run: `python benchmarks/optimizers.py [many] [large] [more] [--turns 11] [--jit]
[--only RAdam ...] [--but Shampoo ...] [--json FILE]`
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
from benchmarks._torch_optimizers import torch_contestants

# Updates in a turn: some tens of milliseconds.
UPDATES = {"many": 10, "large": 4, "more": 3}
# What wraps another optimizer, or shapes its gradient, is measured around Adam.
WRAPPERS = ("Cautious", "GradientPipeline", "Lookahead", "Mechanic")


def layers(count, units):
    return [shape for _ in range(count) for shape in ((units, units), (units,))]


TASKS = {"many": layers(50, 32), "large": layers(2, 1000), "more": layers(200, 32)}


def contestants():
    """From name to what makes the optimizer, each with its defaults."""
    o = kx.optimizers
    rules = [
        *("RAdam", "AdaBelief", "ADOPT", "AdEMAMix", "Adan", "AdaBound", "Yogi"),
        *("AdamMini", "LARS", "LAMB", "NovoGrad", "SGDW", "Shampoo", "SOAP"),
        *("MuonConv", "Prodigy", "DAdaptAdam", "DoG", "LDoG", "DoWG", "COCOB"),
        *("Momo", "Sophia"),
    ]
    shrinkage = o.operators.L1Shrinkage(1e-4)
    return {
        "Adam": keras.optimizers.Adam,
        "Adam again": keras.optimizers.Adam,
        "Keras's Lamb": keras.optimizers.Lamb,
        "Keras's SGD, momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
        **{name: getattr(o, name) for name in rules},
        **{
            f"{name} around Adam": lambda name=name: getattr(o, name)(
                keras.optimizers.Adam()
            )
            for name in WRAPPERS
        },
        "ScheduleFree around Adam": lambda: o.ScheduleFree(
            keras.optimizers.Adam(beta_1=0.0)
        ),
        "Proximal around Adam": lambda: o.Proximal(keras.optimizers.Adam(), shrinkage),
        "ADMM around Adam": lambda: o.ADMM(keras.optimizers.Adam(), shrinkage),
    }


class Contestant:
    """An optimizer that makes updates when it is told to."""

    def __init__(self, make, shapes, jit_compile):
        rng = np.random.default_rng(0)
        self.weights = [
            # Wrappers look for kernels by this name.
            keras.Variable(rng.normal(size=s).astype("float32"), name=f"kernel_{i}")
            for i, s in enumerate(shapes)
        ]
        self.optimizer = make()
        self.optimizer.build(self.weights)
        gradients = [tf.constant(rng.normal(size=s).astype("float32")) for s in shapes]

        @tf.function(autograph=False, jit_compile=jit_compile)
        def step(gradients):
            self.optimizer.scale_loss(gradients[0][0][0])  # some want to see a loss
            if hasattr(type(self.optimizer), "update_curvature"):
                self.optimizer.update_curvature(lambda weights: gradients)
            self.optimizer.apply(gradients, self.weights)

        start = time.perf_counter()
        traced = step.get_concrete_function(gradients)
        self.operations = len(traced.graph.get_operations()) / len(shapes)
        self.step, self.gradients = step, gradients
        for _ in range(3):  # Some do other things in their first updates.
            step(gradients)
        self.seconds_to_first_step = time.perf_counter() - start

    def updates(self, count):
        """Makes updates; returns the time on the clock and that of the processor."""
        start = time.perf_counter(), time.process_time()
        for _ in range(count):
            self.step(self.gradients)
        self.weights[0].numpy()  # waits
        now = time.perf_counter(), time.process_time()
        return [b - a for a, b in zip(start, now, strict=True)]

    def bytes_per_number(self):
        numbers = sum(int(np.prod(w.shape)) for w in self.weights)
        kept = {id(v): v for v in self.optimizer.variables}.values()
        kept = [np.prod(v.shape) * v.value.dtype.size for v in kept if len(v.shape)]
        return sum(kept) / numbers


def compete(task, options):
    """Prints the ratios of all, and returns them as rows."""
    makers = {
        name: make
        for name, make in contestants().items()
        if name not in options.but
        and (not options.only or name in options.only or name.startswith("Adam "))
    }
    makers["Adam"] = keras.optimizers.Adam
    print(f"\n{task}, jit_compile={options.jit}", flush=True)
    models = {n: Contestant(m, TASKS[task], options.jit) for n, m in makers.items()}
    others = torch_contestants(TASKS[task], models)
    times = {name: [] for name in models}
    of_torch = {name: [] for name in others}
    for turn in range(options.turns + 1):
        for all_times, of in ((times, models), (of_torch, others)):
            for name, model in of.items():
                measured = model.updates(UPDATES[task])
                if turn:  # in the first, caches are cold
                    all_times[name].append(measured)
    adam = statistics.median(t[0] for t in times["Adam"]) / UPDATES[task]
    print(f"  {1e3 * adam:.2f} ms an update of Adam")
    rows = []
    for name, model in models.items():
        clock, cpu = (
            ratios([t[i] for t in times[name]], [t[i] for t in times["Adam"]])
            for i in (0, 1)
        )
        columns = [f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in (clock, cpu)]
        kept = model.bytes_per_number()
        to_torch = None
        if name in others:
            ours, theirs = ([t[0] for t in x[name]] for x in (times, of_torch))
            to_torch = ratios(ours, theirs)
        print(
            f"  {name:24} clock {columns[0]}  processor {columns[1]}  "
            f"{model.operations:5.1f} operations a weight  {kept:5.1f} bytes a number"
            f"  first steps {model.seconds_to_first_step:.1f} s"
            f"  of PyTorch's {f'{to_torch[0]:.2f}' if to_torch else '-'}",
            flush=True,
        )
        rows.append(
            {
                "task": task,
                "jit_compile": options.jit,
                "name": name,
                "clock": clock,
                "processor": cpu,
                "clock_to_torch": to_torch,
                "milliseconds_of_adam": 1e3 * adam,
                "operations": model.operations,
                "bytes_per_number": kept,
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=["many", "large"])
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--jit", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--but", nargs="*", default=[])
    parser.add_argument("--json", default="optimizers.json")
    options = parser.parse_args()
    rows = [row for task in options.tasks for row in compete(task, options)]
    Path(options.json).write_text(
        json.dumps({"machine": platform.machine(), "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
