"""A layer and a gradient transform of your own, with values that change while training.

`Noise` is a layer whose deviation is live, and `SignedPower` a transform between plain
gradients (1) and their signs (0), whose power is. `HyperparameterScheduler` moves both
by name, and the compiled step uses the new values: Python traces it in the beginning,
and not again, which is counted. Assigned to a plain attribute, they do nothing at all.

Run: `python examples/live_values.py [--quick] [--epochs 8]`

Prints what each way did and a verdict, and draws `live_values.png`.
"""

import argparse

import keras
import numpy as np

import keras_ext as kx

TRACED = {"live": 0, "plain": 0}


@keras.saving.register_keras_serializable("examples")
class Noise(kx.LiveAttributes, keras.layers.Layer):
    """Adds noise of a deviation that may be assigned while training."""

    def __init__(self, deviation=0.0, **kwargs):
        super().__init__(**kwargs)
        self.deviation = kx.HyperVariable(deviation, "deviation", bounds=(0.0, None))
        self.seed = keras.random.SeedGenerator(0)

    def build(self, input_shape):
        self.build_hyper_variables()

    def call(self, inputs, training=False):
        TRACED["live"] += 1
        if not training:
            return inputs
        noise = keras.random.normal(keras.ops.shape(inputs), seed=self.seed)
        return inputs + self.deviation.value * noise

    def get_config(self):
        return {**super().get_config(), **self.live_config()}


class PlainNoise(keras.layers.Layer):
    """The same with a plain number, which the compiled step has read when traced."""

    deviation = 0.0

    def call(self, inputs, training=False):
        TRACED["plain"] += 1
        noise = keras.random.normal(keras.ops.shape(inputs))
        return inputs + self.deviation * noise if training else inputs


@keras.saving.register_keras_serializable("examples")
class SignedPower(kx.gradients.GradientTransform):
    """Takes gradients to a power, with their signs."""

    def __init__(self, power=1.0, **selection):
        super().__init__(**selection)
        self.power = kx.HyperVariable(power, "power", bounds=(0.0, 2.0))

    def transform(self, gradients, variables):
        ops, power = keras.ops, self.power.value
        return [ops.sign(g) * (ops.abs(g) + 1e-12) ** power for g in gradients]

    def get_config(self):
        return {**super().get_config(), **self.live_config()}


class LossWithNoise(keras.callbacks.Callback):
    """Assigns the deviation of the plain layer, as one would try to."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.layers[0].deviation = float(epoch)


def train(noise, optimizer, callback, epochs):
    """The history of a regression whose inputs are made noisy."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(512, 8)).astype("float32")
    model = keras.Sequential([keras.Input((8,)), noise, keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    options = {"epochs": epochs, "callbacks": [callback], "verbose": 0}
    return model.fit(x, x.sum(axis=1), batch_size=64, **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    epochs = 4 if options.quick else options.epochs
    schedules = {
        "noise.*deviation": float,  # 0, 1, 2, ... in the epochs
        "power": lambda epoch: 1.0 - 0.5 * epoch / epochs,
    }
    sgd = keras.optimizers.SGD(0.01)
    pipeline = kx.optimizers.GradientPipeline(sgd, [SignedPower(exclude="bias")])
    move = kx.callbacks.HyperparameterScheduler(schedules)
    live = train(Noise(name="noise"), pipeline, move, epochs)
    plain = train(PlainNoise(), keras.optimizers.SGD(0.01), LossWithNoise(), epochs)
    print("The optimizer as it ended:", pipeline.transforms[0])
    for name in ("noise/deviation", "power"):
        column = next(key for key in live.history if key.endswith(name))
        print(f"{column}:", *(f"{value:.2f}" for value in live.history[column]))
    for name, history in (("live", live), ("plain", plain)):
        losses = history.history["loss"]
        change = f"{losses[0]:.2f} -> {losses[-1]:.2f}"
        print(f"{name:5} traced {TRACED[name]} times, loss {change}")
    follows = live.history["loss"][-1] > 1.5 * plain.history["loss"][-1]
    kind = "followed the schedule" if follows else "did NOT follow the schedule"
    print(f"The live values {kind}; the plain one was assigned and did nothing.")
    kx.plot_history({"live": live, "plain": plain}).savefig("live_values.png", dpi=110)
    print("The curves are in live_values.png.")


if __name__ == "__main__":
    main()
