"""What is around the step is off again, however the training ends."""

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.training import Objective
from tests.unbuilt import Unbuilt

X = np.ones((8, 2), "float32")


class Fails(Objective):
    def __init__(self, hook):
        super().__init__()
        self.hook = hook

    def _fail(self, hook):
        if self.hook == hook:
            raise KeyboardInterrupt

    def build(self):
        self._fail("build")

    def transform_batch(self, x, y, sample_weight):
        self._fail("transform_batch")
        return x, y, sample_weight

    def extra_loss(self, x, y, y_pred, sample_weight, loss):
        self._fail("extra_loss")

    def after_step(self, x, y, sample_weight):
        self._fail("after_step")


HOOKS = ["build", "transform_batch", "extra_loss", "after_step"]
NAMES = ("scope", "chains", "run")


@pytest.mark.parametrize("hook", HOOKS)
def test_an_error_anywhere_leaves_a_plain_model(hook):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, X[:, :1], callbacks=[Fails(hook)], verbose=0)
    left = {"call", "train_step", "compute_loss"} | {f"_keras_ext_{n}" for n in NAMES}
    assert not left & set(vars(model))
    model.fit(X, X[:, :1], verbose=0)


@pytest.mark.parametrize(
    ("objective", "optimizer"),
    [
        (lambda: kx.training.SharpnessAware(0.5), lambda: "sgd"),
        (kx.training.Curvature, lambda: kx.optimizers.Sophia(0.01)),
    ],
    ids=["SharpnessAware", "Curvature"],
)
def test_a_model_that_its_first_batch_builds_is_trained_as_another(
    objective, optimizer
):
    """The first step had no weights to perturb, and Sophia ended with an error."""
    found = []
    for is_built in (True, False):
        keras.utils.set_random_seed(0)
        model = Unbuilt()
        if is_built:
            model(X)
        model.compile(optimizer(), "mse", run_eagerly=True)
        model.fit(X, X[:, :1], callbacks=[objective()], verbose=0)
        found.append(model.get_weights())
    for built, unbuilt in zip(*found, strict=True):
        np.testing.assert_allclose(unbuilt, built, rtol=1e-5)


def test_a_loop_of_ones_own_takes_it_off_with_detach():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    Fails("nowhere").set_model(model)
    assert "train_step" in vars(model)
    model.train_on_batch(X, X[:, :1])
    kx.detach(model)
    assert "train_step" not in vars(model)
