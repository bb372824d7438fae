"""How many passes through the data does `keras_ext.optimizers.fit_lbfgs` need?

Logistic regression on the 1,797 digits of scikit-learn, with an L2 penalty of 2**-10,
in double precision. Against Adam on all data at once, at several learning rates, which
needs one pass a step.

Printed per variant: the passes until the loss is within 0.1 % of the minimum, and those
until no entry of the gradient is larger than 1e-6, or "-" where that is not reached.

Run: `python benchmarks/lbfgs.py [--passes 3000]`.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

import keras_ext as kx
from benchmarks._data import digits

RATES = [0.003, 0.01, 0.03, 0.1, 0.3]
NEAR, SMALL = 1e-3, 1e-6


def make_model():
    penalty = keras.regularizers.L2(2.0**-10)
    dense = keras.layers.Dense(
        10, kernel_initializer="zeros", kernel_regularizer=penalty
    )
    model = keras.Sequential([keras.Input((64,)), dense])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def by_adam(x, y, rate, passes):
    """The loss and the largest entry of the gradient at each step."""
    model, adam = make_model(), keras.optimizers.Adam(rate)
    adam.build(model.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x))
        gradients = tape.gradient(loss, model.trainable_variables)
        adam.apply(gradients, model.trainable_variables)
        return loss, tf.reduce_max([tf.reduce_max(tf.abs(g)) for g in gradients])

    return np.array([[float(value) for value in step()] for _ in range(passes)])


def first(reached, passes):
    return str(int(passes[np.argmax(reached)])) if np.any(reached) else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=3000)
    options = parser.parse_args()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    x, y = digits()
    x = x.astype("float64")
    tolerances = {"gradient_tolerance": SMALL, "loss_tolerance": 0}
    limits = {"max_iterations": options.passes, "verbose": 0}
    logs = kx.optimizers.fit_lbfgs(make_model(), x, y, **tolerances, **limits).history
    loss, largest = np.array(logs["loss"]), np.array(logs["largest_gradient"])
    minimum = loss[-1]
    print(f"{'variant':14}{'within 0.1 %':>14}{'at the end':>12}")
    rows = {"L-BFGS": (loss, largest, logs["evaluations"])}
    for rate in RATES:
        found = by_adam(x, y, rate, options.passes)
        rows[f"Adam, {rate}"] = *found.T, np.arange(1, options.passes + 1)
    for name, (loss, largest, passes) in rows.items():
        near = first(loss < minimum * (1 + NEAR), passes)
        print(f"{name:14}{near:>14}{first(largest <= SMALL, passes):>12}")


if __name__ == "__main__":
    main()
