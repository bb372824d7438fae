"""Trainings that must give the same in one process and in several workers.

As a script, to be started by `keras_ext.distribute.launch`, it runs those that are
named in one `MultiWorker` and writes what came out to a folder, a file for each worker.
"""

import json
import os
import pickle
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_ext as kx
from keras_ext._keras import _symbolic_build

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 6)).astype("float32")
Y = np.tanh(X @ RNG.normal(size=(6, 2))).astype("float32")
WEIGHTS = RNG.uniform(0.5, 2, 96).astype("float32")
REST = X[:37]


def network(optimizer, rate=0.0, loss="mse", metrics=("mae",)):
    keras.utils.set_random_seed(1)
    layers = [keras.Input((6,)), keras.layers.Dense(8, activation="tanh")]
    layers += [keras.layers.Dropout(rate)] if rate else []
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    model.compile(optimizer, loss, metrics=list(metrics), jit_compile=False)
    return model


def result(model, history):
    return {
        "weights": [np.array(w) for w in model.get_weights()],
        "history": {k: [float(x) for x in v] for k, v in history.history.items()},
    }


class Batches(keras.callbacks.Callback):
    """Keeps the logs of all batches."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))


def plain(folder):
    """`fit` on shuffled arrays, with validation; then `evaluate` and `predict`."""
    model = network(keras.optimizers.SGD(0.1, momentum=0.9))
    batches = Batches()
    history = model.fit(
        X, Y, batch_size=16, epochs=2, validation_data=(X[:32], Y[:32]),
        callbacks=[batches], verbose=0,
    )  # fmt: skip
    return {
        **result(model, history),
        "losses": batches.losses,
        "evaluate": model.evaluate(X[:64], Y[:64], batch_size=32, verbose=0),
        "predict": model.predict(REST, batch_size=16, verbose=0),
    }


def pipeline(folder):
    """Accumulation of 4 micro-batches, a clip of their mean, and AdamW."""
    optimizer = kx.optimizers.GradientPipeline(
        keras.optimizers.AdamW(0.01, weight_decay=0.01),
        transforms=[kx.gradients.ClipByGlobalNorm(0.1)],
        accumulation_steps=4,
    )
    model = network(optimizer)
    history = model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    return {**result(model, history), "updates": int(optimizer.iterations.numpy())}


def growing_accumulation(folder):
    """`DynamicBatchSize` accumulates 1, 2 and 4 batches, and leaves a rest."""
    model = network(keras.optimizers.SGD(0.1, momentum=0.9))
    grow = kx.callbacks.DynamicBatchSize(
        kx.controllers.batch_size.Staged([(1, 2), (2, 4)]),
        batch_size=8,
        max_batch_size=32,
    )
    history = model.fit(
        X[:88], Y[:88], batch_size=8, epochs=3, shuffle=False, callbacks=[grow],
        verbose=0,
    )  # fmt: skip
    return {
        **result(model, history),
        "updates": int(model.optimizer.iterations.numpy()),
    }


def dynamic_batches(folder):
    """Batches of 8, 16 and 32 in an order of their own, of arrays."""
    batches = kx.data.DynamicBatches(X, Y, batch_size=8, seed=3)
    grow = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(batches, "batch_size", 8 * 2**epoch)
    )
    model = network(keras.optimizers.Adam(0.01))
    history = model.fit(batches, epochs=3, callbacks=[grow], verbose=0)
    ordered = kx.data.DynamicBatches(REST, batch_size=8, shuffle=False)
    return {
        **result(model, history),
        "updates": int(model.optimizer.iterations.numpy()),
        "predict": model.predict(ordered, verbose=0),
    }


def stopping(folder):
    """Adaptive clipping and a stop by the norm of the gradient, which all obey."""
    model = network(keras.optimizers.AdamW(0.03))
    callbacks = [
        kx.callbacks.LayerwiseAdaptiveClipping(0.1),
        kx.callbacks.GradientMonitor(),
        kx.callbacks.GradientNormEarlyStopping(0.5, patience=1, start_from_epoch=1),
    ]
    history = model.fit(
        X, Y, batch_size=32, epochs=30, shuffle=False, callbacks=callbacks, verbose=0
    )
    return result(model, history)


def sharded(folder):
    """Batches of a dataset that cannot be divided evenly, the last one of 1 sample."""
    with_weights = [(Y[:49], WEIGHTS[:49]), (Y[:49],)]
    found = {}
    for number, targets in enumerate(with_weights):
        dataset = tf.data.Dataset.from_tensor_slices((X[:49], *targets)).batch(12)
        data = kx.distribute.shard(dataset)
        model = network(keras.optimizers.SGD(0.1), metrics=("mae",))
        model.fit(data, verbose=0)
        found[f"weights {number}"] = model.get_weights()
        found[f"updates {number}"] = int(model.optimizer.iterations.numpy())
    rest = tf.data.Dataset.from_tensor_slices(REST).batch(6)
    found["predict"] = model.predict(kx.distribute.shard(rest), verbose=0)
    return found


def dropout(folder):
    """`AdaptiveDropout`: its decisions are the same on every worker."""
    model = network(keras.optimizers.SGD(0.1), rate=0.3)
    adapt = kx.callbacks.AdaptiveDropout((X[:32], Y[:32]), (X[32:64], Y[32:64]))
    history = model.fit(
        X, Y, batch_size=32, epochs=3, shuffle=False, callbacks=[adapt], verbose=0
    )
    return result(model, history)


def files(folder):
    """What is written is the chief's, and a second `fit` goes on where it stopped."""
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(folder / "best.keras"), monitor="loss", save_best_only=True
    )
    backup = keras.callbacks.BackupAndRestore(
        str(folder / "backup"), delete_checkpoint=False
    )
    log = keras.callbacks.CSVLogger(str(folder / "log.csv"))
    board = keras.callbacks.TensorBoard(str(folder / "board"))
    model = network(keras.optimizers.Adam(0.01))
    model.fit(
        X, Y, batch_size=32, epochs=2, shuffle=False, verbose=0,
        callbacks=[checkpoint, backup, log, board],
    )  # fmt: skip
    model.save(folder / "last.keras")
    again = network(keras.optimizers.Adam(0.01))
    backup = keras.callbacks.BackupAndRestore(
        str(folder / "backup"), delete_checkpoint=False
    )
    history = again.fit(
        X, Y, batch_size=32, epochs=4, shuffle=False, callbacks=[backup], verbose=0
    )
    return {**result(again, history), "epochs": history.epoch}


def local(folder, inputs=X):
    """Replicas that train on their own."""
    model = network(keras.optimizers.SGD(0.1, momentum=0.9))
    history = model.fit(
        inputs, Y, batch_size=16, epochs=2, shuffle=False, verbose=0,
        callbacks=[kx.callbacks.LocalSGD(sync_every=4)],
        validation_data=(X[:32], Y[:32]),
    )  # fmt: skip
    return result(model, history)


def local_nonfinite(folder):
    """The same, and the first worker has to leave a step out."""
    inputs = X.copy()
    inputs[16] = np.nan
    found = local(folder, inputs)
    for name in ("loss", "mae"):
        del found["history"][name]
    return found


def elastic(folder):
    """Replicas that are tied to a center."""
    model = network(keras.optimizers.Adam(0.01))
    history = model.fit(
        X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0,
        callbacks=[kx.callbacks.ElasticAveraging(sync_every=4)],
    )  # fmt: skip
    return result(model, history)


def faults(folder):
    """What Keras does without the repairs."""
    found = {}
    for repair in ("_maybe_symbolic_build", "reduce_per_replica"):
        _symbolic_build.take_back([repair])
        try:
            network("sgd").fit(X, Y, batch_size=32, verbose=0)
            found[repair] = "works"
        except (TypeError, ValueError, RuntimeError, KeyError) as error:
            found[repair] = repr(error)
        _symbolic_build.repair()
    return found


def alone(strategy):
    """`fit` with the strategy and nothing else."""
    with strategy.scope():
        model = network(keras.optimizers.SGD(0.1))
    model.fit(X[:32], Y[:32], batch_size=16, shuffle=False, verbose=0)
    return model.get_weights()


ALIKE = [plain, pipeline, growing_accumulation, dynamic_batches, stopping, sharded]
ALIKE += [files]
# Two workers alone, and two replicas of one process.
APART = [local, elastic]
WORKERS_ONLY = [dropout, local_nonfinite]
# One of each way to train: batches of arrays in lockstep, an optimizer that
# accumulates, batches that `shard` has divided, and replicas that are alone.
REPRESENTATIVE = {"plain", "pipeline", "sharded", "local"}


def listening(port):
    """The addresses at which something of this machine listens, of this port."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    places = [line[1].split(":") for line in lines if line[3] == "0A"]
    return [address for address, number in places if int(number, 16) == port]


def main(folder, *names):
    # Here the graphs are compared; `test_interrupted.py` has them as users do.
    options = {"disable_meta_optimizer": True}
    tf.config.optimizer.set_experimental_options(options)
    config = json.loads(os.environ["TF_CONFIG"])
    index = config["task"]["index"]
    found = {"chief before": kx.distribute.is_chief()}
    strategy = kx.distribute.strategy("multi_worker", timeout=60)
    own = config["cluster"]["worker"][index]
    found["listens"] = listening(int(own.partition(":")[2]))
    found["alone"] = alone(strategy)
    with kx.distribute.MultiWorker(strategy, seed=0):
        found["chief"] = kx.distribute.is_chief()
        found["replicas"] = strategy.num_replicas_in_sync
        for training in ALIKE + APART + WORKERS_ONLY:
            if training.__name__ not in names:
                continue
            begin = time.perf_counter()
            keras.utils.set_random_seed(0)
            found[training.__name__] = training(folder)
            seconds = time.perf_counter() - begin
            sys.stderr.write(f"{training.__name__}: {seconds:.1f} s\n")
    found["chief after"] = kx.distribute.is_chief()
    if "faults" in names:
        with strategy.scope():
            found["faults"] = faults(folder)
    (folder / f"worker-{index}.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
