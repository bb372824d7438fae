import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext.optimizers._flat_objective import FlatObjective
from tests.thorough import thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 3)).astype("float32")
Y = RNG.normal(size=(23, 1)).astype("float32")
W = RNG.uniform(0.5, 2.0, 23).astype("float32")


def make_model(**options):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(4, "tanh", kernel_regularizer=keras.regularizers.L2(0.1)),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(**{"loss": "mse", "run_eagerly": True, **options})
    return model


def state(model):
    return [np.array(v) for v in (*model.variables, *model.metrics_variables)]


@pytest.mark.parametrize("replicas", thorough_but([1], [1, 2]))
def test_the_loss_of_all_data_whatever_the_batches(replicas, strategies):
    with strategies(replicas).scope():
        model = make_model()
    model.get_layer(index=1).moving_mean.assign([0.1, 0.2, 0.3, 0.4])
    before = state(model)
    objective = FlatObjective(model, FixedData((X, Y, W), batch_size=5))
    weights = objective.weights
    loss, gradient = objective(weights)
    # Keras's own, in one batch and as in inference; a model without replicas.
    plain = make_model()
    plain.set_weights(model.get_weights())
    expected = plain.evaluate(X, Y, sample_weight=W, batch_size=23, verbose=0)
    assert loss == pytest.approx(expected, rel=1e-5)
    # The slope along a direction.
    along = RNG.normal(size=len(weights)).astype("float32")
    higher, lower = (objective(weights + h * along)[0] for h in (1e-2, -1e-2))
    assert gradient @ along == pytest.approx((higher - lower) / 2e-2, rel=5e-3)
    for value, was in zip(state(model)[: len(before)], before, strict=True):
        np.testing.assert_array_equal(value, was)
    objective.assign(weights + 1)
    np.testing.assert_allclose(model.get_weights()[0], before[0] + 1, rtol=1e-6)
    assert objective.evaluations == 3


def test_it_is_computed_in_the_precision_of_the_weights():
    for dtype in ("float32", "float64"):
        layers = [keras.Input((3,), dtype=dtype), keras.layers.Dense(1, dtype=dtype)]
        model = keras.Sequential(layers)
        model.compile(loss="mse", run_eagerly=True)
        objective = FlatObjective(model, FixedData((X.astype(dtype), Y.astype(dtype))))
        weights = tf.constant(objective.weights, dtype)
        batch = next(iter(objective._batches))
        assert objective._of_batch(weights, *batch)[1].dtype == dtype
        assert objective._dtype == dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": keras.losses.MeanSquaredError("sum")}, "`reduction` must be one of"),
        ({}, "one with weights that are trainable"),
    ],
)
def test_what_has_no_mean_or_no_weights_is_refused(options, message):
    model = make_model(**options)
    model.trainable = "loss" in options
    with pytest.raises(ValueError, match=message):
        FlatObjective(model, [(X, Y, None)])
