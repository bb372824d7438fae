"""How much faster than shap are explanations, at an error that is no larger?

For each model all explainers explain the same rows against the same background, in
turns, in one process. Time is that of the processor, the smallest of some turns. shap
is given the model twice: as a compiled function (`as_function`, the best it can get),
and as `model.predict`, as people write it; the latter on a row or two, scaled up.
Errors are root mean squares against the truth: all coalitions, or many orders for each
background row. Ours gets the smallest of some budgets whose error is no larger than
that of shap.

- `exact`: 10 features, all coalitions.
- `sampled`: a perceptron of 30 features, a convnet on the digits, a GRU.
- `gradients`: expected gradients, against shap's `GradientExplainer`.
- `deep`: against shap's `DeepExplainer`.
- `overhead`: the time over that of the bare passes through the model.
- `growth`: with rows, features, background and outputs; and the peak of memory.

Run: `python benchmarks/explain.py [--rows 20] [--background 100] [--turns 3]
[--only exact,sampled,gradients,deep,overhead,growth] [--json FILE]`
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import shap
import tensorflow as tf
from keras import layers

import keras_ext as kx
from benchmarks._data import digits

REPLICATES = (1, 2, 3, 5, 10, 20)


def perceptron(features):
    return [
        keras.Input((features,)),
        layers.Dense(32, "relu"),
        layers.Dense(16, "relu"),
        layers.Dense(1, "sigmoid"),
    ]


def convnet():
    return [
        keras.Input((8, 8, 1)),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(32, "relu"),
        layers.Dense(10, "softmax"),
    ]


def recurrent():
    return [keras.Input((10, 3)), layers.GRU(16), layers.Dense(1)]


def trained(name, options):
    """A model that has learned something, background and rows to explain."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    if name == "convnet":
        x, y = digits((8, 8, 1))
        model, loss = keras.Sequential(convnet()), "sparse_categorical_crossentropy"
    elif name == "GRU":
        x = rng.normal(size=(2000, 10, 3)).astype("float32")
        y = x[:, 2, 0] * x[:, 5, 1] + np.sin(2 * x[:, 8, 2]) + x[:, :, 0].sum(1) / 3
        model, loss = keras.Sequential(recurrent()), "mse"
    else:
        features = int(name.split()[1])
        x = rng.normal(size=(2000, features)).astype("float32")
        y = (x[:, 0] * x[:, 1] + x[:, 2] - np.abs(x[:, 3]) + x[:, 4:].mean(1) > 0) * 1.0
        model, loss = keras.Sequential(perceptron(features)), "binary_crossentropy"
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(x, y, epochs=8, verbose=0)
    order = rng.permutation(len(x))
    n = options.background
    return model, x[order[:n]], x[order[n : n + options.rows]]


def cpu(function):
    begin = time.process_time()
    result = function()
    return time.process_time() - begin, result


def race(contestants, turns):
    """From names to functions: the smallest time of each, and its last result."""
    times = {name: [] for name in contestants}
    results = {}
    for turn in range(turns + 1):
        for name, function in contestants.items():
            spent, results[name] = cpu(function)
            if turn:  # the first one also traces and compiles
                times[name].append(spent)
    return {name: (min(times[name]), results[name]) for name in contestants}


def rmse(values, truth):
    return float(
        np.sqrt(np.mean((np.asarray(values).reshape(truth.shape) - truth) ** 2))
    )


def flat(values, outputs):
    """`(rows, elements, outputs)`."""
    values = np.asarray(values)
    return values.reshape(len(values), -1, outputs)


def show(name, seconds, error, ratio=None):
    tail = "" if ratio is None else f"{ratio:>10.1f} x"
    print(f"  {name:44}{seconds:>10.3f} s{error:>12.2e}{tail}", flush=True)


def budget_of(replicates, n, players):
    return 2 * replicates * n * (players - 1)


def predicting(model, shape):
    return lambda z: model.predict(z.reshape(-1, *shape), verbose=0)


def exact(options):
    model, background, x = trained("perceptron 10", options)
    compiled = kx.explain.as_function(model, background)
    explainer = kx.explain.Explainer(model, background, method="exact")
    theirs = shap.ExactExplainer(compiled, shap.maskers.Independent(background, 1000))
    found = race(
        {
            "ours": lambda: explainer(x, show_progress=False).values,
            "shap": lambda: theirs(x, silent=True).values,
        },
        options.turns,
    )
    slow = shap.ExactExplainer(
        predicting(model, (10,)), shap.maskers.Independent(background, 1000)
    )
    spent, _ = cpu(lambda: slow(x[:2], silent=True))
    spent *= len(x) / 2
    print("\nexact, 10 features")
    error = rmse(found["ours"][1], found["shap"][1])
    show("ours (error: to shap)", found["ours"][0], error)
    show(
        "shap Exact, compiled", found["shap"][0], 0, found["shap"][0] / found["ours"][0]
    )
    show("shap Exact, predict", spent, 0, spent / found["ours"][0])
    return {"ours": found["ours"][0], "compiled": found["shap"][0], "predict": spent}


def sampled(options):
    results = {}
    for name in ("perceptron 30", "convnet", "GRU"):
        results[name] = sampled_on(name, options)
    return results


def sampled_on(name, options):
    model, background, x = trained(name, options)
    if name != "perceptron 30":
        x = x[:5]
    players, n = int(np.prod(x.shape[1:])), len(background)
    explainer = kx.explain.Explainer(model, background, method="permutation", seed=1)
    many = kx.explain.Explainer(model, background, method="permutation", seed=2)
    outputs = model.output_shape[-1]
    truth = flat(
        many(x, budget_of(options.truth, n, players), show_progress=False).values,
        outputs,
    )
    ours = {
        f"ours, {m} per background row": lambda m=m: (
            explainer(x, budget_of(m, n, players)).values
        )
        for m in REPLICATES
    }
    flat_x, flat_background = x.reshape(len(x), -1), background.reshape(n, -1)
    theirs = shap_samplers(model, flat_background, flat_x, background)
    found = race({**ours, **theirs}, options.turns)
    print(f"\nsampled, {name}, {len(x)} rows, {players} players")
    errors = {key: rmse(flat(v, outputs), truth) for key, (_, v) in found.items()}
    rows = {}
    for key, (seconds, _) in found.items():
        ratio = None
        if key in theirs:
            equal = [found[k][0] for k in ours if errors[k] <= errors[key]]
            ratio = seconds / min(equal) if equal else None
        rows[key] = {"seconds": seconds, "rmse": errors[key], "ratio": ratio}
        show(key, seconds, errors[key], ratio)
    slow = shap.PermutationExplainer(
        predicting(model, x.shape[1:]), shap.maskers.Independent(flat_background, 1000)
    )
    spent, _ = cpu(lambda: slow(flat_x[:1], silent=True))
    spent *= len(x)
    equal = min(
        found[k][0] for k in ours if errors[k] <= errors["shap Permutation, default"]
    )
    show("shap Permutation, default, predict", spent, np.nan, spent / equal)
    rows["predict"] = {"seconds": spent, "ratio": spent / equal}
    return rows


def shap_samplers(model, background, x, example):
    """The samplers of shap with a compiled function."""
    compiled = kx.explain.as_function(model, example)
    masker = shap.maskers.Independent(background, 1000)
    permutation = shap.PermutationExplainer(compiled, masker)
    kernel = shap.KernelExplainer(compiled, background)
    few = max(500, 2 * x.shape[1] + 1)
    return {
        "shap Permutation, default": lambda: (
            permutation(x, max_evals=few, silent=True).values
        ),
        "shap Permutation, 4 times": lambda: (
            permutation(x, max_evals=4 * few, silent=True).values
        ),
        "shap Kernel, l1_reg=False": lambda: kernel.shap_values(
            x, l1_reg=False, silent=True
        ),
    }


def gradients(options):
    names = ("perceptron 30", "convnet", "GRU")
    return {name: gradients_on(name, options) for name in names}


def gradients_on(name, options):
    model, background, x = trained(name, options)
    x = x if name == "perceptron 30" else x[:10]
    outputs = model.output_shape[-1]
    explainer = kx.explain.Explainer(
        model, background, method="expected_gradients", seed=1
    )
    many = kx.explain.Explainer(model, background, method="expected_gradients", seed=2)
    truth = flat(many(x, 64 * len(background), show_progress=False).values, outputs)
    theirs = shap.GradientExplainer(model, background)
    contestants = {
        f"ours, {points} points": lambda points=points: (
            explainer(x, points, show_progress=False).values
        )
        for points in (100, 200, 400, 800)
    }
    contestants["shap Gradient, 800 samples"] = lambda: theirs.shap_values(
        x, nsamples=800
    )
    found = race(contestants, options.turns)
    print(f"\nexpected gradients, {name}, {len(x)} rows")
    return report(found, truth, outputs, "shap")


def report(found, truth, outputs, other):
    errors = {key: rmse(flat(v, outputs), truth) for key, (_, v) in found.items()}
    rows = {}
    for key, (seconds, _) in found.items():
        ratio = None
        if key.startswith(other):
            equal = [
                found[k][0]
                for k in found
                if not k.startswith(other) and errors[k] <= errors[key]
            ]
            ratio = seconds / min(equal) if equal else None
        show(key, seconds, errors[key], ratio)
        rows[key] = {"seconds": seconds, "rmse": errors[key], "ratio": ratio}
    return rows


def deep(options):
    return {name: deep_on(name, options) for name in ("perceptron 30", "convnet")}


def deep_on(name, options):
    model, background, x = trained(name, options)
    outputs = model.output_shape[-1]
    explainer = kx.explain.Explainer(model, background, method="deep")
    theirs = shap.DeepExplainer(model, background)
    found = race(
        {
            "ours": lambda: explainer(x, show_progress=False).values,
            "shap Deep": lambda: theirs.shap_values(x, check_additivity=False),
        },
        options.turns,
    )
    print(f"\ndeep, {name}, {len(x)} rows (error: between the two)")
    rows = report(found, flat(found["ours"][1], outputs), outputs, "none")
    ratio = found["shap Deep"][0] / found["ours"][0]
    print(f"  shap takes {ratio:.1f} times as long")
    rows["ratio"] = ratio
    return rows


def overhead(options):
    print("\noverhead: time over the bare passes through the model")
    results = {}
    for name in ("perceptron 30", "convnet", "GRU"):
        model, background, x = trained(name, options)
        x = x if name == "perceptron 30" else x[:5]
        players, n = int(np.prod(x.shape[1:])), len(background)
        for method in ("permutation", "expected_gradients"):
            explainer = kx.explain.Explainer(model, background, method=method)
            if method == "permutation":
                passes = count_changes(x, background) * 2 * 2
                bare = bare_passes(model, background, passes, False, explainer)
            else:
                passes = 800 * len(x)
                bare = bare_passes(model, background, passes, True, explainer)
            budget = budget_of(2, n, players) if method == "permutation" else 800
            found = race(
                {
                    "bare": bare,
                    "ours": lambda e=explainer, x=x, b=budget: e(
                        x, b, show_progress=False
                    ),
                },
                options.turns,
            )
            ratio = found["ours"][0] / found["bare"][0]
            print(f"  {name:16}{method:24}{ratio:>6.2f}", flush=True)
            results[f"{name}, {method}"] = ratio
    return results


def count_changes(x, background):
    """How many places between rows and background have to be evaluated."""
    changed = x.reshape(len(x), 1, -1) != background.reshape(1, len(background), -1)
    return int(np.maximum(changed.sum(axis=2) - 1, 0).sum())


def bare_passes(model, background, passes, differentiate, explainer):
    """Calls the model, with gradients of each output or without, so many times."""
    size = min(passes, explainer._evaluate.batch_size // (3 if differentiate else 1))
    rows = tf.constant(np.resize(background, (size, *background.shape[1:])))

    @tf.function
    def forward(x):
        return model(x, training=False)

    @tf.function
    def backward(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            outputs = tf.unstack(model(x, training=False), axis=1)
        return [tape.gradient(y, x) for y in outputs]

    function = backward if differentiate else forward
    rest = passes % size

    def run():
        for _ in range(passes // size):
            result = function(rows)
        if rest:
            result = function(rows[:rest])
        return tf.nest.flatten(result)[-1].numpy()

    return run


def growth(options):
    """Each of four sizes doubled, and the memory with four times the rows."""
    print("\ngrowth: time when a size is doubled, and doubled again")
    base = {"rows": 25, "features": 20, "background": 50, "outputs": 5}
    results = {}
    for what in base:
        seconds = []
        for factor in (1, 2, 4):
            sizes = base | {what: base[what] * factor}
            explainer, x = sized(sizes)
            budget = budget_of(2, sizes["background"], sizes["features"])
            found = race(
                {
                    "ours": lambda e=explainer, x=x, b=budget: e(
                        x, b, show_progress=False
                    )
                },
                options.turns,
            )
            seconds.append(found["ours"][0])
        ratios = [s / seconds[0] for s in seconds]
        print(f"  {what:12}" + "".join(f"{r:>8.2f}" for r in ratios), flush=True)
        results[what] = ratios
    peaks = {rows: peak_of(rows) for rows in (100, 400, 1600)}
    print("  peak of memory by rows, MiB:", peaks)
    return results | {"peaks": peaks}


def sized(sizes):
    rng = np.random.default_rng(0)
    model = keras.Sequential(
        [
            keras.Input((sizes["features"],)),
            layers.Dense(64, "relu"),
            layers.Dense(64, "relu"),
            layers.Dense(sizes["outputs"]),
        ]
    )
    background = rng.normal(size=(sizes["background"], sizes["features"]))
    x = rng.normal(size=(sizes["rows"], sizes["features"]))
    return kx.explain.Explainer(model, background, method="permutation"), x


def peak_of(rows):
    """The peak in a process of its own, less what is there before it explains."""
    code = (
        "import resource, runpy;"
        f"m = runpy.run_path({__file__!r}, run_name='peak');"
        f"m['print_peak']({rows})"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(output.stdout.split()[-1])


def print_peak(rows):
    sizes = {"rows": rows, "features": 20, "background": 50, "outputs": 5}
    explainer, x = sized(sizes)
    explainer(x[:1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    explainer(x)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) // 1024)


TASKS = {
    "exact": exact,
    "sampled": sampled,
    "gradients": gradients,
    "deep": deep,
    "overhead": overhead,
    "growth": growth,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--background", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--truth", type=int, default=60)
    parser.add_argument("--only", default=",".join(TASKS))
    parser.add_argument("--json", default="explain.json")
    options = parser.parse_args()
    # Of shap, on Keras 3.
    warnings.filterwarnings(
        "ignore", message="The structure of|Your TensorFlow version"
    )
    print(f"  {'':44}{'processor':>12}{'error':>12}{'ours is faster by':>20}")
    results = {name: TASKS[name](options) for name in options.only.split(",")}
    Path(options.json).write_text(json.dumps(results, indent=1, default=float))


if __name__ == "__main__":
    main()
