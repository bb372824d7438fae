import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.optimizers import GradientPipeline, Momo


def parabola(optimizer, start, updates):
    """Minimizes the square of a weight; returns it, and the rates."""
    weight, rates = keras.Variable(np.float32(start), name="weight"), []
    for _ in range(updates):
        optimizer.scale_loss(weight**2)
        optimizer.apply([2 * weight], [weight])
        rates.append(float(optimizer.last_rate))
    return float(weight), rates


def test_without_momentum_it_makes_the_step_of_polyak():
    """The loss over the square of the gradient: half of the way, here."""
    weight, rates = parabola(Momo(100.0, beta=0.0), 8.0, 3)
    assert weight == pytest.approx(1.0)
    assert rates == pytest.approx([0.25] * 3)


def test_the_rate_is_never_larger_than_the_given_one():
    _, rates = parabola(Momo(0.1), 8.0, 20)
    assert max(rates) == pytest.approx(0.1)


def test_it_stands_still_below_its_bound():
    assert parabola(Momo(1.0, lower_bound=9.0, beta=0.0), 2.0, 3) == (2.0, [0.0] * 3)


def shifted(optimizer, updates):
    """A parabola that is never less than 5."""
    weight = keras.Variable(4.0, name="weight")
    for _ in range(updates):
        optimizer.scale_loss(weight**2 / 2 + 5)
        optimizer.apply([weight + 0.0], [weight])
    return abs(float(weight))


def test_a_bound_that_is_far_too_low_is_raised():
    assert shifted(Momo(3.0, beta=0.0), 30) > 0.2
    assert shifted(Momo(3.0, beta=0.0, adapt_lower_bound=True), 30) < 0.01


@pytest.mark.parametrize("wrap", [lambda o: o, GradientPipeline])
def test_the_mean_of_finite_losses_counts(wrap):
    ones = [keras.ops.ones(3)]
    weights = []
    for losses in ([2.0], [1.0, 3.0], [np.inf, 2.0]):
        optimizer = wrap(Momo(100.0))
        weights.append(keras.Variable(np.ones(3, "float32"), name="weight"))
        for loss in losses:
            optimizer.scale_loss(keras.ops.array(loss))
        optimizer.apply(ones, weights[-1:])
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2])
    assert weights[0][0] != 1


def test_keras_own_accumulation_sees_the_mean_loss():
    weights = []
    for steps, losses in ((None, [2.0]), (2, [1.0, 3.0])):
        optimizer = Momo(100.0, gradient_accumulation_steps=steps)
        weights.append(keras.Variable(np.ones(3, "float32"), name="weight"))
        for loss in losses:
            optimizer.scale_loss(keras.ops.array(loss))
            optimizer.apply([keras.ops.ones(3)], weights[-1:])
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)


def test_an_update_without_a_loss_says_how_to_show_it():
    weight = keras.Variable(1.0, name="weight")
    with pytest.raises(ValueError, match="shown the loss, by `loss = optimizer.scale"):
        Momo().apply([keras.ops.ones(())], [weight])
    scaled = keras.optimizers.LossScaleOptimizer(Momo())
    scaled.scale_loss(weight + 0.0)
    with pytest.raises(ValueError, match="GradientPipeline around that one"):
        scaled.apply([keras.ops.ones(())], [weight])
    assert float(weight) == 1


def test_a_pipeline_shows_the_loss_past_its_scale():
    weights = []
    for inner in (Momo(100.0), keras.optimizers.LossScaleOptimizer(Momo(100.0))):
        optimizer = GradientPipeline(inner)
        weights.append(keras.Variable(np.ones(3, "float32"), name="weight"))
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = optimizer.scale_loss(tf.reduce_sum(weights[-1] ** 2))
            optimizer.apply(tape.gradient(loss, [weights[-1].value]), weights[-1:])
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)
    assert weights[0][0] < 0.7


@pytest.mark.parametrize("replicas", [1, 2])
def test_fit_shows_the_loss_of_the_whole_batch(replicas, strategies):
    x = np.linspace(-1, 2, 8, dtype="float32")[:, None]
    with strategies(replicas).scope():
        dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        model = keras.Sequential([keras.Input((1,)), dense])
        model.compile(Momo(100.0), "mse", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((x, 3 * x)).batch(8)
    model.fit(data, shuffle=False, verbose=0)
    # From (3 - w)**2 E with E the mean of x**2: Polyak's step goes half of the way.
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(1.5, rel=1e-5)


def test_where_all_is_float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        optimizer = Momo()
        weight = keras.Variable([1.0, 2.0])
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(weight.value**2)
                scaled = optimizer.scale_loss(loss)
            optimizer.apply(tape.gradient(scaled, [weight.value]), [weight])
    finally:
        keras.config.set_floatx(before)
    assert np.abs(keras.ops.convert_to_numpy(weight)).max() < 1.0
