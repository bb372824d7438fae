import keras
import numpy as np
import pytest

from keras_ext._keras._optimizer_family import updates_so_far
from keras_ext.compression import PolynomialDecay, Prune, RigL
from keras_ext.compression._planned_updates import planned_updates
from keras_ext.optimizers import GradientPipeline

X = np.ones((40, 3), "float32")  # ten batches of four
OPTIMIZERS = {
    "plain": (lambda: keras.optimizers.SGD(0.01), 1),
    "Keras": (lambda: keras.optimizers.SGD(0.01, gradient_accumulation_steps=5), 5),
    "pipeline": (lambda: GradientPipeline("sgd", accumulation_steps=5), 5),
    "scaled": (
        lambda: keras.optimizers.LossScaleOptimizer(
            GradientPipeline("sgd", accumulation_steps=5)
        ),
        5,
    ),
}


def new_model(optimizer):
    layers = [keras.layers.Dense(4), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(optimizer, "mse", run_eagerly=True)
    return model


@pytest.fixture(params=OPTIMIZERS)
def model_and_batches(request):
    make, batches = OPTIMIZERS[request.param]
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)]
    )
    model.compile(make(), "mse", run_eagerly=True)
    return model, batches


def test_it_is_how_many_there_were_in_the_end(model_and_batches):
    model, batches = model_and_batches
    optimizer = model.optimizer
    for fits in (1, 2):
        planned = planned_updates(optimizer, {"steps": 10, "epochs": 2})
        model.fit(X, X[:, :1], batch_size=4, epochs=2, verbose=0)
        assert planned == updates_so_far(optimizer) == fits * 20 // batches


@pytest.mark.parametrize("params", [None, {}, {"steps": None, "epochs": 2}])
def test_of_an_unknown_length_there_is_no_number(params):
    assert planned_updates(keras.optimizers.SGD(), params) is None


@pytest.mark.parametrize(
    "callback",
    [
        lambda end: Prune(
            PolynomialDecay(0.0, 0.5, begin_step=0, end_step=end, frequency=4)
        ),
        lambda end: RigL(0.5, end_step=end),
    ],
    ids=["Prune", "RigL"],
)
def test_a_schedule_that_cannot_end_with_accumulation_is_refused(callback):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)]
    )
    model.compile(GradientPipeline("sgd", accumulation_steps=5), "mse")
    with pytest.raises(
        ValueError, match=r"must be (one that ends within the|at most) 4"
    ):
        model.fit(
            X, X[:, :1], batch_size=4, epochs=2, callbacks=[callback(16)], verbose=0
        )
