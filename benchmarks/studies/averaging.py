"""Is the mean of weights, or of models of one training, better than the last model?

A perceptron (196-128-128-10, dropout 0.2, SGD 0.05 with momentum 0.9, batches of 64, 24
epochs) on 1,500 of the test images of MNIST, averaged to 14 x 14 and drawn at random;
tested on 1,000 others, and on the same shifted by a pixel with noise of 0.3.

Compared are the last model of the plain training; the mean of the weights from epoch 14
on, by `keras_ext.callbacks.StochasticWeightAveraging`; the ensemble of 4 cycles of 6
epochs, by `keras_ext.callbacks.SnapshotEnsemble`, and the last of its models alone. All
see the same images and first weights for a seed.

Printed per variant: test loss (negative log likelihood) and accuracy in percent, on
both sets, and by how many percent the loss on the first is above that of the plain
training, with the 95 % confidence interval of the differences over seeds.

Run: `python benchmarks/studies/averaging.py --data mnist10k DIR [--seeds 5]
[--json FILE]`, where DIR has the IDX files of the test images, gzipped.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np

from benchmarks._data import mnist10k
from benchmarks._intervals import regret
from keras_ext.callbacks import SnapshotEnsemble, StochasticWeightAveraging

EPOCHS = 24


def load(folder):
    x, y = mnist10k(folder, (28, 28))
    return x.reshape(-1, 14, 2, 14, 2).mean((2, 4)), y.astype("int64")


def shifted(x):
    moved = np.roll(x, 1, axis=2)
    noise = np.random.default_rng(0).normal(0.0, 0.3, moved.shape)
    return (moved + noise).astype("float32")


def trained(x, y, seed, callbacks):
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((14, 14)), keras.layers.Flatten()]
    for _ in range(2):
        layers += [keras.layers.Dense(128, "relu"), keras.layers.Dropout(0.2)]
    model = keras.Sequential([*layers, keras.layers.Dense(10, "softmax")])
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    options = {"batch_size": 64, "epochs": EPOCHS, "verbose": 0}
    model.fit(x, y, callbacks=callbacks, **options)
    return model


def measured(model, x, y):
    found = {}
    for name, images in (("clean", x), ("shifted", shifted(x))):
        p = model.predict(images, verbose=0, batch_size=1000)
        found[f"{name} loss"] = float(-np.log(p[np.arange(len(y)), y] + 1e-12).mean())
        found[f"{name} accuracy"] = 100 * float((p.argmax(1) == y).mean())
    return found


def run(x, y, seed):
    rows = np.random.default_rng(seed).permutation(10000)
    train, test = ((x[r], y[r]) for r in (rows[:1500], rows[-1000:]))
    cycles = SnapshotEnsemble(EPOCHS // 4)
    last = trained(*train, seed, [cycles])
    mean = trained(*train, seed, [StochasticWeightAveraging(14)])
    models = {
        "plain": trained(*train, seed, []),
        "weights averaged": mean,
        "4 snapshots": cycles.ensemble(),
        "last snapshot alone": last,
    }
    return {name: measured(model, *test) for name, model in models.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs=2, metavar=("mnist10k", "DIR"), required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", default="averaging.json")
    options = parser.parse_args()
    x, y = load(options.data[1])
    runs = [run(x, y, seed) for seed in range(options.seeds)]
    measures = list(runs[0]["plain"])
    print(f"{'variant':22}" + "".join(f"{m:>18}" for m in measures) + "   regret, %")
    plain = [r["plain"]["clean loss"] for r in runs]
    for name in runs[0]:
        means = [np.mean([r[name][m] for r in runs]) for m in measures]
        above, half = regret([r[name]["clean loss"] for r in runs], plain)
        text = "".join(f"{value:>18.3f}" for value in means)
        print(f"{name:22}{text}   {above:+.1f} ± {half:.1f}")
    Path(options.json).write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
