"""How sparse may a model be, by which way, and what does it cost to get there?

Two models: a perceptron (64-128-64-10) on the digits of scikit-learn, and, with
`--data DIR`, a convnet (Conv 16, Conv 32, Dense 64) on 10,000 images of MNIST, of
which 7,000 train. Both are trained first (Adam 1e-3, 15 epochs, batches of 64). Then,
for each sparsity and seed, from the same weights:

- `one-shot`: the smallest weights of each layer are set to zero, nothing else;
- `Prune`: 12 more epochs, with the cubic schedule of tfmot until epoch 8, every layer
  alike;
- `adaptive`: the same with `scope="adaptive"`, as sparse as a whole;
- `adaptive, int8`: of these, 4 epochs of `quantize_aware` with `KeepZeros`, and the
  file as LiteRT runs it;
- `tfmot`: the same schedule by `prune_low_magnitude`, through `run_tfmot`, if an
  environment with tfmot is given by `--python`;
- `trained on`: 12 more epochs without zeros, which is what to compare with.

Printed: test accuracy in percent, with 95 % confidence intervals over the seeds; bytes
of the packed int8 file by those of the packed float file; how often file and model
agree; the time of a step with `Prune` by that of a plain one, in turns; and seconds of
the processor of a whole training of 12 epochs, plain, with `Prune` and by tfmot, there
with and without what its process takes to start and to convert models.

Run: `python benchmarks/smaller_models.py [--seeds 5] [--sparsities 0.5,0.9]
[--only digits] [--data DIR] [--python PYTHON] [--quick] [--json FILE]`
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx
from benchmarks._data import digits, mnist10k
from benchmarks._intervals import mean_and_interval
from benchmarks._smaller_models import accuracy, copy_of, cost

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98)
BATCH, EPOCHS, END = 64, 12, 8


def split(x, y, rows, seed):
    """The rows to test with are the same for all seeds."""
    order = np.random.default_rng(0).permutation(len(y))
    train = np.random.default_rng(seed).permutation(order[:rows])
    return (x[train], y[train]), (x[order[rows:]], y[order[rows:]])


def mlp():
    stack = [keras.Input((64,))]
    stack += [keras.layers.Dense(n, "relu") for n in (128, 64)]
    return keras.Sequential([*stack, keras.layers.Dense(10, "softmax")])


def convnet():
    layers = keras.layers
    stack = [keras.Input((28, 28, 1))]
    for filters in (16, 32):
        stack += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]
    stack += [layers.Flatten(), layers.Dense(64, "relu")]
    return keras.Sequential([*stack, layers.Dense(10, "softmax")])


def compiled(model, rate=1e-3):
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    return model


def fit(model, data, epochs, *callbacks, rate=1e-3):
    """Returns the seconds of the processor, which other work does not change."""
    begin = time.process_time()
    options = {"batch_size": BATCH, "epochs": epochs, "verbose": 0}
    compiled(model, rate).fit(*data, callbacks=list(callbacks), **options)
    return time.process_time() - begin


def seconds_of_children():
    """The seconds of the processor of all processes that were started and ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def an_epoch(model, data, callbacks):
    fit(model, data, 1, *callbacks)


def prune_to(sparsity, steps, scope):
    schedule = kx.compression.PolynomialDecay(
        0.0, sparsity, begin_step=0, end_step=END * steps, frequency=steps
    )
    return kx.compression.Prune(schedule, scope=scope, verbose=0)


def recipe(model, tfmot, x, y):
    """Of tfmot, in its own process; `y` also has what is wanted."""
    import json
    import time

    epochs, end, batch = (int(n) for n in y["numbers"])
    pruning = tfmot.sparsity.keras
    steps = -(-len(x) // batch)
    options = {"batch_size": batch, "epochs": epochs, "verbose": 0}
    found = {}
    for sparsity in y["sparsities"]:
        copied = tf_keras.models.clone_model(model)  # noqa: F821
        copied.set_weights(model.get_weights())
        schedule = pruning.PolynomialDecay(
            0.0, float(sparsity), 0, end * steps, frequency=steps
        )
        wrapped = pruning.prune_low_magnitude(copied, pruning_schedule=schedule)
        optimizer = tf_keras.optimizers.Adam(1e-3)  # noqa: F821
        wrapped.compile(optimizer, "sparse_categorical_crossentropy")
        begin = time.process_time()
        callbacks = [pruning.UpdatePruningStep()]
        wrapped.fit(x, y["labels"], callbacks=callbacks, **options)
        seconds = time.process_time() - begin
        made = pruning.strip_pruning(wrapped)
        outputs = made.predict(y["test"], verbose=0)
        right = float((outputs.argmax(-1) == y["test labels"]).mean())
        found[f"{sparsity:g}"] = [100 * right, seconds]
    with open(str(y["report"]), "w") as file:
        json.dump(found, file)
    return made


class Study:
    """All ways with one model and one seed.

    Args:
        make: Makes the model.
        data: Rows to train and to test with.
        folder: For files.
        python: The interpreter with tfmot, or None.
        epochs: Those of the first training and of the later ones.
    """

    def __init__(self, make, data, folder, python, epochs):
        self.train, self.test = data
        self.python, self.epochs = python, epochs
        self.path = Path(folder, "m.tflite")
        self.seconds = {"Prune": [], "adaptive": []}
        self.base = make()
        fit(self.base, self.train, epochs[0])
        self.steps = -(-len(self.train[0]) // BATCH)
        self.found = {"base": self.measured(self.base)}
        on = copy_of(self.base)
        self.found["seconds, plain"] = fit(on, self.train, epochs[1])
        self.found["trained on"] = self.measured(on)
        file = kx.compression.to_litert(on, self.path)
        self.float_bytes = file.num_gzip_bytes

    def measured(self, model):
        return accuracy(model.predict(self.test[0], verbose=0), self.test[1])

    def run(self, sparsity):
        found, s = self.found, f" {sparsity:g}"
        once = copy_of(self.base)
        kx.compression.prune(once, sparsity)
        found["one-shot" + s] = self.measured(once)
        for way, scope in (("Prune", "layer"), ("adaptive", "adaptive")):
            model = copy_of(self.base)
            callback = prune_to(sparsity, self.steps, scope)
            seconds = fit(model, self.train, self.epochs[1], callback)
            self.seconds[way].append(seconds)
            found["seconds, " + way] = float(np.mean(self.seconds[way]))
            found[way + s] = self.measured(model)
        self.quantized(model, s)

    def quantized(self, model, s):
        aware = kx.compression.quantize_aware(model)
        keep = kx.compression.KeepZeros()
        fit(aware, self.train, max(1, self.epochs[1] // 3), keep, rate=1e-4)
        report = kx.compression.to_litert(aware, self.path, mode="int8")
        file = kx.compression.LiteRTFile(self.path)
        outputs = file.predict(self.test[0])
        in_keras = np.argmax(aware.predict(self.test[0], verbose=0), -1)
        self.found["adaptive, int8" + s] = accuracy(outputs, self.test[1])
        agreed = 100 * float(np.mean(np.argmax(outputs, -1) == in_keras))
        self.found["agreement" + s] = agreed
        self.found["bytes, int8 by float" + s] = (
            report.num_gzip_bytes / self.float_bytes
        )

    def by_tfmot(self, sparsities):
        """All in one process, most of whose time is for imports."""
        report = self.path.with_name("report.json")
        y = {"labels": self.train[1], "sparsities": np.array(sparsities)}
        y |= {"numbers": np.array([self.epochs[1], END, BATCH])}
        y |= {"test": self.test[0], "test labels": self.test[1]}
        y |= {"report": np.array(str(report))}
        begin = seconds_of_children()
        kx.compression.run_tfmot(
            self.base, recipe, x=self.train[0], y=y, python=self.python
        )
        rest = seconds_of_children() - begin
        found = json.loads(report.read_text())
        seconds = [one for _, one in found.values()]
        for sparsity, (right, _) in found.items():
            self.found[f"tfmot {sparsity}"] = right
        self.found["seconds, tfmot"] = float(np.mean(seconds))
        rest -= sum(seconds)
        self.found["seconds, tfmot with its process"] = rest + float(np.mean(seconds))


def studied(name, arguments, folder):
    """Prints what all seeds have given for one model."""
    make = mlp if name == "digits" else convnet
    if name == "digits":
        x, y = digits()
        rows = 1347
    else:
        x, y = mnist10k(arguments.data, (28, 28, 1))
        rows = 7000
    epochs = (2, 9) if arguments.quick else (15, EPOCHS)
    runs = []
    for seed in range(arguments.seeds):
        keras.utils.set_random_seed(seed)
        data = split(x, y, rows, seed)
        study = Study(make, data, folder, arguments.python, epochs)
        for sparsity in arguments.sparsities:
            study.run(sparsity)
        if arguments.python:
            study.by_tfmot(arguments.sparsities)
        runs.append(study.found)
        print(f"{name}, seed {seed} done", flush=True)
        if arguments.json:
            arguments.json.with_stem(f"{arguments.json.stem}_{name}").write_text(
                json.dumps(runs)
            )
    for row in runs[0]:
        values = [run[row] for run in runs]
        print(f"{row:34}{mean_and_interval(values, 3 if 'bytes' in row else 2):>20}")
    turns = 3 if arguments.quick else 7
    found = cost(make, an_epoch, split(x, y, rows, 0)[0], turns)
    for kind, (median, low, high) in zip(("clock", "processor"), found, strict=True):
        print(f"step with Prune, {kind}: {median:.3f} ({low:.3f} to {high:.3f})")


def numbers(text):
    return [float(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sparsities", type=numbers, default=SPARSITIES)
    parser.add_argument("--only", choices=("digits", "mnist"))
    parser.add_argument("--data", help="the folder with the IDX files of MNIST")
    parser.add_argument("--python", help="the interpreter of an environment with tfmot")
    parser.add_argument("--quick", action="store_true", help="fewer epochs and turns")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("digits", "mnist"):
            if arguments.only in (None, name) and (name == "digits" or arguments.data):
                print(f"\n{name}")
                studied(name, arguments, folder)


if __name__ == "__main__":
    main()
