import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_ext.training import Objective
from tests.thorough import thorough_but

X = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
Y = X[:, :1] + 1


class Recorded(Objective):
    """Doubles the targets, pulls the kernel to 3, and counts steps."""

    def build(self):
        self.steps = keras.Variable(
            0, dtype="int32", trainable=False, aggregation="only_first_replica"
        )

    def transform_batch(self, x, y, sample_weight):
        return x, 2.0 * y, sample_weight

    def extra_loss(self, x, y, y_pred, sample_weight, loss):
        return ops.sum((self.model.layers[0].kernel - 3.0) ** 2)

    def after_step(self, x, y, sample_weight):
        self.steps.assign_add(1)


class Shifted(Objective):
    """The loss at weights that are larger by 1."""

    def perturb_weights(self, x, y, sample_weight):
        return [(v, ops.ones(v.shape)) for v in self.model.trainable_variables]


def make_model(cls=keras.Sequential, **options):
    layers = [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")]
    model = cls(layers)
    model.compile(keras.optimizers.SGD(0.1), "mse", **options)
    return model


def fit(model, *callbacks, **options):
    options = {"batch_size": 16, "verbose": 0, "shuffle": False, **options}
    return model.fit(X, Y, callbacks=list(callbacks), **options)


@pytest.mark.parametrize("replicas", thorough_but([1], [1, 2]))
def test_hooks_change_the_step_and_validation_stays(replicas, strategies):
    with strategies(replicas).scope():
        model = make_model(run_eagerly=replicas == 1, jit_compile=False)
        loss_before = np.mean((X @ np.ones((2, 1)) - Y) ** 2)
    objective = Recorded()
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    history = model.fit(
        data, validation_data=data, callbacks=[objective], shuffle=False, verbose=0
    ).history
    error = X @ np.ones((2, 1)) - 2 * Y
    # The kernel begins with ones: two of them, 2 away from 3.
    assert history["loss"][0] == pytest.approx(np.mean(error**2) + 8, rel=1e-5)
    kernel = 1 - 0.1 * (2 * X.T @ error / 16 + 2 * (1 - 3.0))
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-5)
    plain = make_model(run_eagerly=True)
    plain.set_weights(model.get_weights())
    expected = plain.evaluate(X, Y, verbose=0)
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(loss_before)
    assert int(ops.convert_to_numpy(objective.steps)) == 1


def test_perturbed_weights_are_never_assigned_and_extra_losses_see_them_not():
    model = make_model(run_eagerly=True)
    fit(model, Recorded(), Shifted())
    error = X @ np.full((2, 1), 2.0) + 1 - 2 * Y
    kernel = 1 - 0.1 * (2 * X.T @ error / 16 + 2 * (1 - 3.0))
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-5)


def test_one_perturbation_at_a_time():
    model = make_model(run_eagerly=True)
    with pytest.raises(ValueError, match="with one at most that perturbs the weights"):
        fit(model, Shifted(), Shifted())
    assert "train_step" not in vars(model)


class PassesBy(keras.Sequential):
    """A step that neither calls the model as it is nor computes its loss."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = ops.mean((self.layers[0](x) - y) ** 2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}


@pytest.mark.parametrize("objective", [Recorded, Shifted])
def test_a_step_that_goes_past_it_fails_while_it_is_traced(objective):
    model = make_model(PassesBy)
    before = model.get_weights()
    with pytest.raises(ValueError, match="one that calls model\\(...\\) and"):
        fit(model, objective())
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    fit(model)  # which is as if there had been none
