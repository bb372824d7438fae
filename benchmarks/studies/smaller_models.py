"""How sparse may a model be, and what is it worth in a file?

A convnet (Conv 16, Conv 32, Dense 64, with batch normalization; Adam 2e-3, batches of
64) learns the digits of scikit-learn in 20 epochs. Then, for each sparsity:

- `one-shot`: the smallest weights of each layer are set to zero, nothing else;
- `pruned`: 40 more epochs at a rate of 2e-3, with `Prune` and a cubic schedule that
  ends after 25;
- `global`: the same, all weights ranked together;
- `inner`: as `pruned`, without the first convolution and the last layer;
- `adaptive`: with `scope="adaptive"`, all ranked by what they are to their layer;
- `adaptive, int8`: of `adaptive`, `quantize_aware` with `KeepZeros` for 5 epochs, and
  then the int8 file, run by LiteRT;
- `compress`: all in one call, of 40 epochs and of the 12 that are its default;
- `trained on`: not pruned, for the same 40 epochs, which is what to compare with.

Printed: test accuracy in percent on 450 images, with 95 % confidence intervals over the
seeds; bytes of the int8 file under gzip; how often the file agrees with the model in
Keras; and the time of a training step with `Prune` by that of a plain one, in turns,
clock and processor.

Run: `python benchmarks/studies/smaller_models.py [--seeds 5] [--sparsities 0.5,0.9]
[--json FILE]`
"""

import argparse
import json
import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx
from benchmarks._data import digits
from benchmarks._intervals import mean_and_interval
from benchmarks._smaller_models import accuracy, copy_of, cost

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98)
BATCH = 64


def load(seed):
    """Training and test rows; those to test on are the same for all seeds."""
    x, y = digits((8, 8, 1))
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:-450], order[-450:]
    train = np.random.default_rng(seed).permutation(train)
    return (x[train], y[train]), (x[test], y[test])


def make_model():
    layers = keras.layers
    inputs = x = keras.Input((8, 8, 1))
    for i, filters in enumerate((16, 32)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D(name=f"pool_{i}")(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def fit(model, data, epochs, rate, *callbacks):
    model.compile(
        keras.optimizers.Adam(rate),
        "sparse_categorical_crossentropy",
        jit_compile=False,
    )
    options = {"batch_size": BATCH, "verbose": 0, "callbacks": list(callbacks)}
    return model.fit(*data, epochs=epochs, **options)


def an_epoch(model, data, callbacks):
    fit(model, data, 1, 1e-3, *callbacks)


def is_at_an_end(kernel):
    """Whether a kernel is that of the first convolution or the last layer."""
    return kernel.shape[-2] == 1 or kernel.shape[-1] == 10


def schedule(sparsity, steps):
    end = 25 * steps
    frequency = steps
    return kx.compression.PolynomialDecay(
        0.0, sparsity, begin_step=0, end_step=end, frequency=frequency
    )


def one_seed(seed, folder, sparsities):
    """Accuracies, packed bytes and agreements by variant and sparsity."""
    train, test = load(seed)
    keras.utils.set_random_seed(seed)
    base = make_model()
    fit(base, train, 20, 2e-3)
    on = copy_of(base)
    fit(on, train, 40, 2e-3)
    path = Path(folder, "m.tflite")
    found = {
        "base 0": accuracy(base(test[0]), test[1]),
        "trained on 0": accuracy(on(test[0]), test[1]),
        "bytes float 0": kx.compression.to_litert(on, path).num_gzip_bytes,
    }
    for sparsity in sparsities:
        found |= one_sparsity(sparsity, base, train, test, path)
    return found


def one_sparsity(sparsity, base, train, test, path):
    once = copy_of(base)
    kx.compression.prune(once, sparsity)
    found = {f"one-shot {sparsity}": accuracy(once(test[0]), test[1])}
    steps = -(-len(train[0]) // BATCH)
    variants = {
        "global": {"scope": "global"},
        "inner": {"exclude": is_at_an_end},
        "pruned": {},
        "adaptive": {"scope": "adaptive"},
    }
    for name, options in variants.items():
        model = copy_of(base)
        prune = kx.compression.Prune(schedule(sparsity, steps), verbose=0, **options)
        fit(model, train, 40, 2e-3, prune)
        found[f"{name} {sparsity}"] = accuracy(model(test[0]), test[1])
    aware = kx.compression.quantize_aware(model)
    fit(aware, train, 5, 3e-4, kx.compression.KeepZeros())
    report = kx.compression.to_litert(aware, path, mode="int8")
    predicted = kx.compression.LiteRTFile(path).predict(test[0])
    in_keras = np.argmax(aware(test[0], training=False), -1)
    agreement = 100 * float(np.mean(np.argmax(predicted, -1) == in_keras))
    found[f"adaptive, int8 {sparsity}"] = accuracy(predicted, test[1])
    found[f"agreement {sparsity}"] = agreement
    found[f"bytes int8 {sparsity}"] = report.num_gzip_bytes
    return found | in_one_call(sparsity, base, train, test, path)


def in_one_call(sparsity, base, train, test, path):
    found = {}
    options = {"sparsity": sparsity, "batch_size": BATCH, "verbose": 0}
    options |= {"x": train[0], "y": train[1], "validation_data": test}
    for epochs in (40, 12):
        small = kx.compression.compress(base, path, epochs=epochs, **options)
        name = f"compress, {epochs} epochs {sparsity}"
        found[name] = 100 * small.sizes.rows[-1].accuracy
    return {**found, f"bytes compress {sparsity}": small.file.num_gzip_bytes}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    default = ",".join(map(str, SPARSITIES))
    parser.add_argument("--sparsities", default=default)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sparsities = [float(s) for s in arguments.sparsities.split(",")]
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            runs.append(one_seed(seed, folder, sparsities))
            print(f"seed {seed} done", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(runs))
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"{name:24}{mean_and_interval(values, 0 if 'bytes' in name else 2):>20}")
    ratios = cost(make_model, an_epoch, load(0)[0])
    for kind, (median, low, high) in zip(("clock", "processor"), ratios, strict=True):
        print(f"step with Prune, {kind}: {median:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
