"""Two workers end with the weights of one process: how far apart are they?

The same script trains in one process, and as two workers that
`keras_ext.distribute.launch` starts on this machine, which needs no cluster and no GPU.
Clipping by the norm of a whole layer sees the gradient of the whole batch, so the
number of workers changes nothing.

Run: `python examples/several_workers.py [--quick] [--workers 2]`

Prints the largest difference of a weight and a verdict, and draws the losses in
`several_workers.png`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BATCH = 60


def train(folder, epochs):
    """What each worker does; alone, without workers, it is an ordinary training."""
    import keras
    from sklearn.datasets import load_digits

    import keras_ext as kx

    x, y = load_digits(return_X_y=True)
    x, y = x[:1200].astype("float32") / 16, y[:1200]
    with kx.distribute.MultiWorker(seed=0):
        # Smooth: at the kink of a ReLU a rounding error turns a gradient on or off.
        hidden = [keras.layers.Dense(64, "tanh") for _ in range(3)]
        model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
        clip = kx.callbacks.LayerwiseAdaptiveClipping(rule="norm", verbose=0)
        options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
        history = model.fit(x, y, epochs=epochs, callbacks=[clip], **options)
        if kx.distribute.is_chief():
            weights = np.concatenate([w.ravel() for w in model.get_weights()])
            np.savez(folder, weights=weights, loss=history.history["loss"])


def trained(workers, epochs):
    """Runs this file with this number of workers; returns the result of the chief."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trained.npz")
        command = [sys.executable]
        if workers > 1:
            command += ["-m", "keras_ext.distribute.launch", "--workers", str(workers)]
        command += [__file__, "--train", str(path), "--epochs", str(epochs)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        with np.load(path) as found:
            return found["weights"], found["loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    epochs = 2 if options.quick else options.epochs
    if options.train:
        train(options.train, options.epochs)
        return
    alone, loss_alone = trained(1, epochs)
    together, loss_together = trained(options.workers, epochs)
    apart = float(np.abs(together - alone).max())
    size = float(np.abs(alone).max())
    print(f"Largest weight {size:.2f}, largest difference of one {apart:.1e}.")
    same = apart < 1e-3 * size
    kind = "the same model as" if same else "ANOTHER model than"
    print(f"{options.workers} workers have trained {kind} one process.")

    from matplotlib.figure import Figure

    figure = Figure((6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(loss_alone, color="0.6", linewidth=5, label="one process")
    axes.plot(loss_together, "--", label=f"{options.workers} workers")
    axes.set(xlabel="epoch", ylabel="loss", title="one curve on the other")
    axes.legend()
    figure.savefig("several_workers.png", dpi=110)
    print("The losses are in several_workers.png.")


if __name__ == "__main__":
    main()
