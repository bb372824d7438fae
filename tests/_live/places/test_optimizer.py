import keras
import numpy as np
import tensorflow as tf

from keras_ext._live.places._optimizer import of_optimizer
from keras_ext.optimizers import GradientPipeline


def found(optimizer):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return {h.path: h for h in of_optimizer(model)}


def test_decay_and_momenta_are_found_with_their_values():
    adam = keras.optimizers.AdamW(0.1, weight_decay=0.2, beta_1=0.5, beta_2=0.75)
    assert {path: h.value for path, h in found(adam).items()} == {
        "optimizer/weight_decay": 0.2,
        "optimizer/beta_1": 0.5,
        "optimizer/beta_2": 0.75,
    }
    rms = keras.optimizers.RMSprop(0.1, rho=0.25)
    # A momentum of 0 has nothing to keep it in, and a decay of None is none.
    assert list(found(rms)) == ["optimizer/rho"]


def test_what_is_put_there_is_what_the_next_step_takes():
    sgd = keras.optimizers.SGD(1.0, momentum=0.5)
    weight = keras.Variable([0.0])
    sgd.build([weight])
    sgd.apply([tf.constant([8.0])])
    found(sgd)["optimizer/momentum"].places[0](0.25)
    sgd.apply([tf.constant([0.0])])
    np.testing.assert_allclose(weight, [-8.0 - 0.25 * 8.0])


def test_they_are_found_inside_of_a_pipeline():
    sgd = keras.optimizers.SGD(1.0, momentum=0.5)
    (momentum,) = found(GradientPipeline(sgd)).values()
    assert momentum.owner is sgd
    assert list(of_optimizer(keras.Model())) == []
