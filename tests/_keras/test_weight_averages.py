"""What `_weight_averages` relies on in Keras, and what it promises."""

import keras
import numpy as np
import tensorflow as tf

from keras_ext._keras._weight_averages import average_weights, averages_held_back


def stepped(optimizer, weight, number=3, held_back=False):
    optimizer.build([weight])
    for _ in range(number):
        if not held_back:
            optimizer.apply([tf.ones(2)], [weight])
            continue
        with averages_held_back(optimizer) as members:
            optimizer.apply([tf.ones(2)], [weight])
        average_weights(members, None)
    optimizer.finalize_variable_values([weight])


def test_makes_the_averages_that_keras_makes():
    for every in (None, 2):
        made = []
        for held_back in (False, True):
            weight = keras.Variable([1.0, 2.0], name="weight")
            optimizer = keras.optimizers.SGD(
                0.5, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=every
            )
            stepped(optimizer, weight, held_back=held_back)
            made.append(np.array(weight))
            assert optimizer.use_ema
        np.testing.assert_allclose(*made, rtol=1e-6)


def test_without_an_update_there_is_no_average():
    weight = keras.Variable([1.0, 2.0], name="weight")
    optimizer = keras.optimizers.SGD(0.5, use_ema=True)
    stepped(optimizer, weight)
    before = np.array(weight)
    weight.assign([9.0, 9.0])
    with averages_held_back(optimizer) as members:
        pass
    average_weights(members, tf.constant(False))
    optimizer.finalize_variable_values([weight])
    np.testing.assert_array_equal(weight, before)


def test_nobody_is_held_back_who_does_not_average():
    with averages_held_back(keras.optimizers.SGD()) as members:
        assert members == []
