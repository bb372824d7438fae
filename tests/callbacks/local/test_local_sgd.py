import copy
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.callbacks import ElasticAveraging, LocalSGD, PostLocalSGD
from tests.distribute import workers
from tests.thorough import LONG, MATRIX, thorough_but


def linear(strategy, make_optimizer=None, constraint=None):
    with strategy.scope():
        keras.utils.set_random_seed(0)
        layer = keras.layers.Dense(1, use_bias=False, kernel_constraint=constraint)
        model = keras.Sequential([keras.Input((3,)), layer])
        sgd = keras.optimizers.SGD(workers.RATE, workers.MOMENTUM)
        optimizer = make_optimizer() if make_optimizer else sgd
        model.compile(optimizer, "mse", jit_compile=False)
    return model


def fit(model, callbacks, epochs=2, x=None, y=None, **options):
    x, y = workers.arrays() if x is None else (x, y)
    return model.fit(
        x, y, workers.BATCH_SIZE, epochs, shuffle=False, callbacks=callbacks,
        verbose=0, **options,
    )  # fmt: skip


def copies(model):
    """The first weight, as each replica has it."""
    strategy = model.distribute_strategy
    values = strategy.experimental_local_results(model.weights[0].value)
    return [v.numpy() for v in values]


@pytest.mark.parametrize(
    ("sync_every", "average_state"),
    thorough_but({(3, True)}, [(1, False), (3, False), (3, True), (50, False)]),
)
def test_is_what_workers_do_alone(sync_every, average_state, strategies):
    model = linear(strategies(2))
    wanted = workers.local_sgd(model.get_weights()[0], 2, sync_every, average_state)
    history = fit(model, [LocalSGD(sync_every, average_state=average_state)]).history
    weights, momenta, _ = wanted[-1]
    for replica in copies(model):
        np.testing.assert_allclose(replica, weights, rtol=1e-5)
    assert type(model.optimizer) is keras.optimizers.SGD
    found = model.optimizer.variables[2].numpy()
    np.testing.assert_allclose(found, momenta, rtol=1e-4, atol=1e-6)
    assert int(model.optimizer.iterations.numpy()) == 2 * len(workers.X)
    assert history["synchronizations"] == [n for _, _, n in wanted]


@pytest.mark.thorough(MATRIX)
def test_with_one_step_it_is_ordinary_training(strategies):
    results = []
    for callbacks in ([], [LocalSGD(1)]):
        model = linear(strategies(2), lambda: keras.optimizers.AdamW(0.05))
        history = fit(model, callbacks, validation_split=0.2).history
        results.append((model.get_weights()[0], history["loss"], history["val_loss"]))
    for ours, keras_own in zip(*results, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-5)


@functools.cache
def on_one_replica(make=None, jit_compile=False):
    """The weights after training with such a callback."""
    model = linear(tf.distribute.get_strategy())
    model.jit_compile = jit_compile
    fit(model, [make()] if make else [])
    return model.get_weights()[0]


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.thorough(MATRIX))]
)
@pytest.mark.parametrize("make", [LocalSGD, ElasticAveraging, PostLocalSGD])
def test_on_one_replica_it_is_ordinary_training(make, jit_compile):
    wanted = on_one_replica(jit_compile=jit_compile)
    found = on_one_replica(make, jit_compile)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.thorough(LONG)
def test_ends_where_two_parabolas_balance(strategies):
    """Each replica has its own; in H steps it goes 1 - (1 - rate * curvature)^H."""
    x = np.array([[1.0, 0, 0]] * 4 + [[0.5, 0, 0]] * 4, "float32")
    y = np.array([[1.0]] * 4 + [[-1.0]] * 4, "float32")
    model = linear(strategies(2), lambda: keras.optimizers.SGD(0.1))
    local = LocalSGD(4)
    found = []
    steps = [4, 20, 1]
    callbacks = [
        local,
        keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: local.sync_every.assign(steps[epoch]),
            on_epoch_end=lambda epoch, logs: found.append(copies(model)[1][0, 0]),
        ),
    ]
    fit(model, callbacks, epochs=3, x=np.tile(x, (140, 1)), y=np.tile(y, (140, 1)))
    curvatures, minima = np.array([2.0, 0.5]), np.array([1.0, -2.0])
    for steps_between, weight in zip(steps, found, strict=True):
        pulls = 1 - (1 - 0.1 * curvatures) ** steps_between
        np.testing.assert_allclose(weight, pulls @ minima / pulls.sum(), rtol=1e-4)


@pytest.mark.thorough(LONG)
def test_who_looks_sees_the_mean(strategies, tmp_path):
    """Also a callback that comes before it, in the middle of an epoch."""
    model = linear(strategies(2))
    start = model.get_weights()[0]
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "{batch}.keras", save_freq=7
    )
    fit(model, [checkpoint, LocalSGD(50)], epochs=1)
    loaded = keras.saving.load_model(tmp_path / "7.keras")
    oracle = workers.Workers(start)
    for batch in range(7):
        oracle.move(oracle.gradients(batch))
    oracle.average(state=True)
    np.testing.assert_allclose(loaded.get_weights()[0], oracle.x[0], rtol=1e-5)
    assert type(loaded.optimizer) is keras.optimizers.SGD
    momentum = loaded.optimizer.variables[2].numpy()
    np.testing.assert_allclose(momentum, oracle.v[0], rtol=1e-4)
    assert "save" not in vars(model)


@pytest.mark.thorough(LONG)
def test_statistics_of_batch_normalization_are_averaged(strategies):
    with strategies(2).scope():
        norm = keras.layers.BatchNormalization(momentum=0.0)
        model = keras.Sequential([keras.Input((3,)), norm, keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    fit(model, [LocalSGD(4)], epochs=1)
    means = workers.X[-1].mean(axis=1)
    values = strategies(2).experimental_local_results(norm.moving_mean.value)
    for value in values:
        np.testing.assert_allclose(value, means.mean(axis=0), rtol=1e-5)


@pytest.mark.usefixtures("graphs_as_shipped")
@pytest.mark.thorough(LONG)
def test_constraints_are_met_on_each_replica(strategies):
    model = linear(strategies(2), constraint="non_neg")
    oracle = workers.Workers(model.get_weights()[0])
    for batch in range(len(workers.X)):
        oracle.move(oracle.gradients(batch))
        oracle.x = np.maximum(oracle.x, 0)
        if batch % 4 == 3:
            oracle.average(state=False)
    fit(model, [LocalSGD(4)], epochs=1)
    np.testing.assert_allclose(model.get_weights()[0], oracle.x[0], rtol=1e-5)
    assert np.any(oracle.x[0] > 0)


@pytest.mark.thorough(MATRIX)
def test_mixed_bfloat16(strategies):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = linear(strategies(2))
    losses = fit(model, [LocalSGD(4)], epochs=3).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert copies(model)[0].dtype == "float32"


def test_a_copy_is_as_new(strategies):
    local = LocalSGD(5)
    local.set_model(linear(strategies(1)))
    copied = copy.deepcopy(local)
    assert int(copied.sync_every) == 5
    assert not copied.sync_every.built
    assert copied.sync_every is not local.sync_every


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sync_every": 0}, "`sync_every` must be an integer >= 1"),
        ({"sync_every": 2.5}, "`sync_every` must be an integer >= 1"),
        ({"average_state": "no"}, "`average_state` must be True or False"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LocalSGD(**arguments)
