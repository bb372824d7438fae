"""From the range test to one cycle: does it beat a constant learning rate?

The range test suggests learning rates for a network on handwritten digits. Then the
same network is trained for the same few epochs in several ways: with a constant rate,
the best one of a grid on the first seed, so that it has every chance; with the constant
rate of Keras; with the rate that the range test suggests; and with one cycle of rate
and momentum up to ten times that, and up to the best of the grid. The table says what
came out, also where one cycle does not help, and a verdict compares the better cycle
with the best constant rate.

Run: `python examples/one_cycle.py [--quick] [--seeds 5] [--epochs 6]`

Prints the suggestions and the table, and writes the range test and the curves to
`one_cycle.png`. The data are the digits that come with scikit-learn.
"""

import argparse
import statistics

import keras
import numpy as np

import keras_ext as kx

BATCH_SIZE = 32
GRID = [0.01, 0.03, 0.1, 0.3, 1.0]


def load_digits():
    """1,797 images of 8 x 8 pixels: 1,200 to train, 597 to test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x = digits.data[order].astype("float32") / 16.0
    y = digits.target[order]
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


def make_model(seed, rate=0.01):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def run(data, seed, epochs, rate=None, cycle=None):
    """Trains once; returns the test losses of the epochs and the last accuracy."""
    train, test = data
    model = make_model(seed, rate or 0.01)
    history = model.fit(
        *train,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_data=test,
        callbacks=[] if cycle is None else [kx.callbacks.OneCycle(cycle)],
        verbose=0,
    ).history
    return history["val_loss"], 100 * history["val_accuracy"][-1]


def best_of_grid(data, epochs):
    """The constant rate whose test loss is smallest in the end, on one seed."""
    losses = [run(data, 0, epochs, rate=rate)[0][-1] for rate in GRID]
    return GRID[int(np.nanargmin(losses))]


def ways(suggested, best):
    """What is compared, from a name to the arguments of `run`."""
    return {
        "constant, Keras's 0.01": {"rate": 0.01},
        f"constant, suggested {suggested:.2g}": {"rate": suggested},
        f"constant, best of grid {best:g}": {"rate": best},
        f"one cycle, 10 x suggested {10 * suggested:.2g}": {"cycle": 10 * suggested},
        f"one cycle, best of grid {best:g}": {"cycle": best},
    }


def print_table(runs):
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("", "test loss", "test accuracy (%)"):
        table.add_column(column, justify="right")
    for name, collected in runs.items():
        cells = []
        for values in ([c[-1] for c, _ in collected], [a for _, a in collected]):
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        table.add_row(name, *cells)
    Console(width=100).print(table)


def verdict(runs):
    """The better cycle beside the best constant rate, seed by seed."""
    from scipy import stats

    losses = {name: [curve[-1] for curve, _ in found] for name, found in runs.items()}
    kinds = [[n for n in losses if n.startswith(k)] for k in ("one cycle", "constant")]
    cycle, constant = (min(k, key=lambda n: np.mean(losses[n])) for k in kinds)
    gains = np.subtract(losses[constant], losses[cycle])
    gain, spread, shown = gains.mean(), "", ", on one seed"
    if len(gains) > 1:
        half = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
        spread = f" ± {half:.3f}"
        shown = "" if abs(gain) > half else ", which may be chance"
    word = "less" if gain > 0 else "more"
    return f"{cycle}: {abs(gain):.3f}{spread} {word} test loss than {constant}{shown}."


def draw(found, runs, path):
    """The range test on the left, the mean curves on the right."""
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4), layout="constrained")
    left.plot(found.rates, found.smoothed, color="0.2")
    for name, rate in found.suggestions.items():
        left.axvline(rate, linestyle=":", color="tab:blue")
        left.text(rate, max(found.smoothed[:20]), name, rotation=90, fontsize=8)
    left.set(xscale="log", xlabel="learning rate", ylabel="loss", title="range test")
    left.set_ylim(0, 1.3 * max(found.smoothed[:20]))
    for name, collected in runs.items():
        curves = np.mean([curve for curve, _ in collected], axis=0)
        right.plot(range(1, len(curves) + 1), curves, label=name)
    right.set(yscale="log", xlabel="epoch", title="test loss, mean of the seeds")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    seeds, epochs = (1, 1) if options.quick else (options.seeds, options.epochs)

    data = load_digits()
    found = kx.diagnostics.find_learning_rate(
        make_model(0), *data[0], batch_size=BATCH_SIZE
    )
    print("The range test suggests:", found, sep="\n")
    best = GRID[2] if options.quick else best_of_grid(data, epochs)
    runs = {
        name: [run(data, seed, epochs, **way) for seed in range(seeds)]
        for name, way in ways(found.suggestion, best).items()
    }
    print_table(runs)
    print(verdict(runs))
    draw(found, runs, "one_cycle.png")
    print("The curves are in one_cycle.png.")


if __name__ == "__main__":
    main()
