import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._silent_pass import silent_pass
from keras_ext._anatomy._trial import loss_of

X = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")


def make_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(4, kernel_regularizer="l2")(inputs)
    hidden = keras.layers.ActivityRegularization(l2=0.1)(hidden)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(0.5, seed=1)(hidden)
    outputs = [keras.layers.Dense(1)(hidden), keras.layers.Dense(1)(hidden)]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mae"], run_eagerly=True)
    model.train_on_batch(X, [X, X])
    return model


def test_nothing_is_written_and_the_next_pass_is_the_same():
    model = make_model()
    variables = [*model.variables, *model.metrics_variables]
    before = [np.array(v) for v in variables]
    with tf.GradientTape() as tape, silent_pass(model):
        silent = loss_of(model, X, [X, X], None, training=True)
    gradients = tape.gradient(silent, [v.value for v in model.trainable_variables])
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    with tf.GradientTape() as tape:
        loud = loss_of(model, X, [X, X], None, training=True)
    assert float(silent) == float(loud)
    for ours, theirs in zip(
        gradients, tape.gradient(loud, model.trainable_variables), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)
    changed = [not np.array_equal(v, b) for v, b in zip(variables, before, strict=True)]
    assert any(changed)


def test_other_weights_for_one_call():
    model = make_model()
    other = [np.full(v.shape, 0.1, "float32") for v in model.trainable_variables]
    with silent_pass(model, other):
        silent = loss_of(model, X, [X, X], None, training=False)
    for variable, value in zip(model.trainable_variables, other, strict=True):
        variable.assign(value)
    loud = loss_of(model, X, [X, X], None, training=False)
    np.testing.assert_allclose(silent, loud, rtol=1e-6)
