import keras
import numpy as np
import pytest
from keras import layers

from keras_ext import HyperVariable, hyper_variables
from keras_ext.gradients import AdaptiveClip
from keras_ext.layers import LiveDropout
from keras_ext.optimizers import GradientPipeline

# Finding them.


def rates(model):
    return {path: float(hyper) for path, hyper in hyper_variables(model).items()}


class LiveL2(keras.Regularizer):
    def __init__(self, strength):
        self.strength = HyperVariable(
            strength, "strength", bounds=(0.0, None), scale="log"
        )

    def __call__(self, x):
        return self.strength.value * keras.ops.sum(keras.ops.square(x))


def test_a_model_without_any_has_none():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    assert hyper_variables(model) == {}
    model.compile("adam", "mse")
    assert hyper_variables(model) == {}


def test_finds_those_of_layers_in_nested_models():
    inputs = keras.Input((4,))
    inner = keras.Sequential(
        [keras.Input((4,)), LiveDropout(0.2, name="drop")], name="inner"
    )
    timed = layers.TimeDistributed(LiveDropout(0.3, name="each"), name="timed")
    x = LiveDropout(0.1, name="drop")(inner(inputs))
    outputs = timed(layers.Reshape((2, 2))(x))
    assert rates(keras.Model(inputs, outputs, name="outer")) == {
        "drop/rate": 0.1,
        "inner/drop/rate": 0.2,
        "timed/each/rate": 0.3,
    }


class Block(layers.Layer):
    """As people write it: layers in a list, and no `build`."""

    def __init__(self, name):
        super().__init__(name=name)
        self.parts = [layers.Dense(4), LiveDropout(0.2, name="drop")]

    def call(self, inputs, training=False):
        for part in self.parts:
            inputs = part(inputs, training=training)
        return inputs


def test_finds_those_of_layers_in_custom_layers():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Block(name="block")(inputs))
    assert rates(model) == {"block/drop/rate": 0.2}
    (rate,) = hyper_variables(model).values()
    rate.assign(0.9)
    ones = np.ones((50, 4), "float32")
    dropped = np.mean(np.asarray(model(ones, training=True)) == 0)
    assert dropped == pytest.approx(0.9, abs=0.1)  # 4 standard deviations: 0.085


def test_lists_a_shared_one_once():
    shared = LiveDropout(0.3, name="shared")
    strength = LiveL2(0.5)
    inputs = keras.Input((4,))
    x = layers.Dense(4, kernel_regularizer=strength, name="a")(shared(inputs))
    x = layers.Dense(4, kernel_regularizer=strength, name="b")(shared(x))
    assert rates(keras.Model(inputs, x)) == {
        "shared/rate": 0.3,
        "a/kernel_regularizer/strength": 0.5,
    }


def test_gives_different_names_to_different_ones():
    def inner(name, rate):
        inputs = keras.Input((4,))
        return keras.Model(inputs, LiveDropout(rate, name="drop")(inputs), name=name)

    class Twice(layers.Layer):
        def __init__(self):
            super().__init__(name="twice")
            self.parts = [LiveDropout(rate, name="drop") for rate in (0.3, 0.4)]

        def call(self, x):
            return self.parts[1](self.parts[0](x))

    inputs = keras.Input((4,))
    found = rates(
        keras.Model(inputs, Twice()(inner("b", 0.2)(inner("a", 0.1)(inputs))))
    )
    assert found == {
        "a/drop/rate": 0.1,
        "b/drop/rate": 0.2,
        "twice/drop/rate": 0.3,
        "twice/drop_2/rate": 0.4,
    }


def test_finds_those_of_the_optimizer():
    inputs = keras.Input((4,))
    outputs = layers.Dense(1, kernel_regularizer=LiveL2(0.5), name="dense")(inputs)
    model = keras.Model(inputs, outputs, name="model")
    steps = HyperVariable(2, "accumulation_steps", bounds=(1, 8), dtype="int32")
    transforms = [AdaptiveClip(0.1), AdaptiveClip(0.2, exclude="bias")]
    model.compile(
        GradientPipeline("sgd", transforms, accumulation_steps=steps),
        loss="mse",
    )
    assert rates(model) == {
        "dense/kernel_regularizer/strength": 0.5,
        "optimizer/adaptive_clip/clipping": 0.1,
        "optimizer/adaptive_clip/clipping_2": 0.2,
        "optimizer/accumulation_steps": 2.0,
    }
    found = hyper_variables(model)
    assert found["optimizer/accumulation_steps"] is steps
    assert found["optimizer/adaptive_clip/clipping_2"] is transforms[1].clipping


def test_what_is_found_is_live():
    inputs = keras.Input((1,))
    regularizer = LiveL2(0.0)
    dense = layers.Dense(
        1, kernel_regularizer=regularizer, kernel_initializer="ones", name="dense"
    )
    model = keras.Model(inputs, dense(inputs))
    regularizer.strength.build()
    model.compile(GradientPipeline(keras.optimizers.SGD(0.5)), "mse")
    # The loss is zero but for the penalty: it falls by the factor (1 - strength)**2.
    x = np.ones((1, 1), "float32")
    model.train_on_batch(x, x)
    assert float(dense.kernel[0, 0]) == 1.0
    hyper_variables(model)["dense/kernel_regularizer/strength"].assign(0.5)
    model.train_on_batch(x, x)
    assert float(dense.kernel[0, 0]) == pytest.approx(0.5)
