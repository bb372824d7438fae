"""Six lines that do nothing, or the wrong thing, in Keras, and what they do here.

Run: `python docs/scripts/six_lines.py`

It prints the table of the README, whose numbers a test compares with it.
"""

import keras
import numpy as np
import tensorflow as tf

import keras_ext as kx

CPU = tf.config.list_physical_devices("CPU")[0]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(256, 8)).astype("float32")
Y = (X[:, :1] + 0.1 * X[:, 1:2]).astype("float32")


class AfterFirstEpoch(keras.callbacks.Callback):
    """Does something to the model once, between the first and the second epoch."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.change(self.model)


def new_model():
    keras.utils.set_random_seed(0)
    penalty = keras.regularizers.L2(1e-4)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(32, "relu", kernel_regularizer=penalty, name="bottom"),
            keras.layers.Dropout(0.1, name="dropout"),
            keras.layers.Dense(1, name="head"),
        ]
    )
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.004), "mse")
    return model


def last_loss(change, live=False):
    """The loss of the third epoch, the second of which begins with the change."""
    model = new_model()
    if live:
        kx.make_live(model)
    callbacks = [AfterFirstEpoch(change)] if change else []
    history = model.fit(X, Y, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    return history.history["loss"][-1]


def raise_rate(model):
    model.get_layer("dropout").rate = 0.9


def raise_penalty(model):
    model.get_layer("bottom").kernel_regularizer.l2 = 1.0


def raise_decay(model):
    model.optimizer.weight_decay = 5.0


def thaw(model):
    model.get_layer("bottom").trainable = True


def assigned(change):
    """The loss with a number that is assigned in mid-training, and without."""
    without = last_loss(None)
    silent, found = last_loss(change), last_loss(change, live=True)
    assert silent == without
    yield f"nothing: loss {silent:.2f} with and without it"
    yield f"loss {found:.2f}, without it {without:.2f}"


def thawed():
    """How far the frozen layer has moved."""
    for ours in (False, True):
        model = new_model()
        bottom = model.get_layer("bottom")
        if ours:
            callback = kx.callbacks.GradualUnfreezing([(1, "bottom")])
        else:
            bottom.trainable = False
            model.compile(keras.optimizers.AdamW(0.01), "mse")
            callback = AfterFirstEpoch(thaw)
        before = bottom.kernel.numpy()
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[callback])
        yield f"weights moved by {abs(bottom.kernel.numpy() - before).max():.2f}"


def clipped():
    """The length of a step of which 1.0 is the limit, on two replicas."""
    two_replicas = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for ours in (False, True):
        with two_replicas.scope():
            model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
            optimizer = keras.optimizers.SGD(1.0, global_clipnorm=1.0)
            if ours:
                optimizer = kx.optimizers.GradientPipeline(optimizer)
            model.compile(optimizer, "mse")
        before = np.concatenate(model.get_weights(), axis=None)
        model.fit(X, 100 * Y, batch_size=256, verbose=0)
        step = np.concatenate(model.get_weights(), axis=None) - before
        yield f"a step of length {np.linalg.norm(step):.2f}"


def accumulated():
    """Whether four batches make one update, on two replicas."""
    two_replicas = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for ours in (False, True):
        with two_replicas.scope():
            model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
            if ours:
                optimizer = kx.optimizers.GradientPipeline("adam", accumulation_steps=4)
            else:
                optimizer = keras.optimizers.Adam(gradient_accumulation_steps=4)
            model.compile(optimizer, "mse")
        try:
            model.fit(X, Y, batch_size=32, verbose=0)
        except RuntimeError as error:
            assert "`merge_call` called while defining" in str(error)
            yield "RuntimeError: merge_call called while defining a new graph"
        else:
            updates = int(np.array(model.optimizer.iterations))
            yield f"{updates} updates from 8 batches"


SAME_LINE = "the same line, after `kx.make_live(model)`"
ROWS = (
    ("dropout.rate = 0.9", SAME_LINE, lambda: assigned(raise_rate)),
    ("dense.kernel_regularizer.l2 = 1.0", SAME_LINE, lambda: assigned(raise_penalty)),
    ("optimizer.weight_decay = 5.0", SAME_LINE, lambda: assigned(raise_decay)),
    ("dense.trainable = True", '`GradualUnfreezing([(1, "bottom")])`', thawed),
    (
        "SGD(1.0, global_clipnorm=1.0)",
        "`GradientPipeline(SGD(1.0, global_clipnorm=1.0))`",
        clipped,
    ),
    (
        "Adam(gradient_accumulation_steps=4)",
        "`GradientPipeline(Adam(), accumulation_steps=4)`",
        accumulated,
    ),
)


def main():
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(CPU, two)
    for line, ours, measure in ROWS:
        theirs, found = measure()
        print(f"| `{line}` | {theirs} | {ours} | {found} |")


if __name__ == "__main__":
    main()
