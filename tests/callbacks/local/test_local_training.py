"""What all callbacks have in common that let replicas train on their own."""

import json
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.callbacks import ElasticAveraging, LocalSGD, PostLocalSGD
from tests.callbacks.local.test_local_sgd import copies, fit, linear
from tests.distribute import workers
from tests.thorough import LONG, TRAININGS


@pytest.mark.parametrize("make", [LocalSGD, ElasticAveraging])
@pytest.mark.thorough(LONG)
def test_a_step_that_is_not_finite_is_left_out(make, strategies):
    x, y = workers.arrays()
    # Of the second batch, the part of the second replica.
    x[workers.BATCH_SIZE + 6] = np.nan
    model = linear(strategies(2))
    history = fit(model, [make(3)], epochs=2, x=x, y=y).history
    assert history["nonfinite_steps"] == [1, 2]
    assert all(np.isfinite(w).all() for w in copies(model))
    assert int(model.optimizer.iterations.numpy()) == 2 * len(workers.X)


def test_an_interrupted_fit_brings_the_replicas_together(strategies):
    seen = []

    def interrupt(batch, logs):
        if batch == 5:
            seen.extend(copies(model))
            raise KeyboardInterrupt

    model = linear(strategies(2))
    optimizer = model.optimizer
    stop = keras.callbacks.LambdaCallback(on_train_batch_begin=interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(model, [LocalSGD(50), stop])
    first, second = seen
    assert np.abs(first - second).max() > 0.01
    assert model.optimizer is optimizer
    np.testing.assert_array_equal(*copies(model))
    np.testing.assert_allclose(copies(model)[0], (first + second) / 2, rtol=1e-6)


def test_a_loop_that_was_interrupted_does_not_disturb_the_next_one(strategies):
    model = linear(strategies(2))
    optimizer = model.optimizer
    for callback in (LocalSGD(), kx.callbacks.GradientMonitor(), ElasticAveraging()):
        callback.set_model(model)
        callback.on_train_begin()  # and no end
        assert model.optimizer is not optimizer
        assert model.optimizer.optimizer is optimizer
    kx.detach(model)
    assert model.optimizer is optimizer


@pytest.mark.parametrize("number", [0, 1])
def test_has_no_gradient_of_the_whole_batch(number, strategies):
    callbacks = [LocalSGD()]
    callbacks.insert(number, kx.callbacks.GradientMonitor())
    model = linear(strategies(2))
    optimizer = model.optimizer
    with pytest.raises(ValueError, match="gradient of the whole batch"):
        fit(model, callbacks)
    assert model.optimizer is optimizer
    assert "save" not in vars(model)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (kx.optimizers.GradientPipeline("sgd"), "without a GradientPipeline"),
        (
            keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()),
            r"without loss scaling.*'mixed_bfloat16'",
        ),
        (keras.optimizers.SGD(use_ema=True), r"`optimizer\.use_ema` must be False"),
        (
            keras.optimizers.SGD(gradient_accumulation_steps=2),
            r"`optimizer\.gradient_accumulation_steps` must be None",
        ),
    ],
)
def test_refuses_optimizers_that_reduce_at_every_step(optimizer, message):
    model = linear(tf.distribute.get_strategy(), lambda: optimizer)
    with pytest.raises(ValueError, match=message):
        fit(model, [LocalSGD()])
    assert model.optimizer is optimizer


def test_refuses_what_several_replicas_cannot_do(strategies):
    model = linear(strategies(2))
    model.jit_compile = True
    with pytest.raises(ValueError, match=r"`model\.jit_compile` must be False"):
        fit(model, [LocalSGD()])
    model = linear(strategies(2))
    model.layers[-1].kernel.overwrite_with_gradient = True
    message = "weights that are overwritten by their gradient` must be none"
    with pytest.raises(ValueError, match=message):
        fit(model, [LocalSGD()])
    assert type(model.optimizer) is keras.optimizers.SGD


def test_refuses_a_step_that_does_not_use_it():
    class Model(keras.Sequential):
        def train_step(self, data):
            return {"loss": tf.reduce_sum(self(data[0]))}

    model = Model([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"`model\.train_step` must be one that calls"):
        fit(model, [LocalSGD()])
    assert type(model.optimizer) is keras.optimizers.SGD


RESUMED = {
    "LocalSGD": lambda: LocalSGD(3),
    "PostLocalSGD": lambda: PostLocalSGD(3, start_epoch=1),
}


@pytest.mark.thorough(TRAININGS)
@pytest.mark.parametrize("name", RESUMED)
def test_a_training_that_was_killed_ends_where_it_would_have(
    name, strategies, tmp_path
):
    """Between two epochs all replicas are alike, and the file has what they have."""

    def start(*callbacks):
        model = linear(strategies(2))
        callbacks = [*callbacks, RESUMED[name]()]
        try:
            fit(model, callbacks, epochs=3)
        except KeyboardInterrupt:
            return None
        return copies(model)

    def backup():
        return keras.callbacks.BackupAndRestore(
            str(tmp_path / "backup"), delete_checkpoint=False
        )

    def kill(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    killer = keras.callbacks.LambdaCallback(on_epoch_begin=kill)
    whole = start()
    assert start(backup(), killer) is None
    np.testing.assert_allclose(start(backup()), whole, rtol=1e-6)


@pytest.mark.parametrize("make", [LocalSGD, PostLocalSGD, ElasticAveraging])
@pytest.mark.thorough(LONG)
def test_a_used_one_can_be_pickled_and_has_plain_logs(make):
    model = linear(tf.distribute.get_strategy())
    local = make(4)
    history = fit(model, [local], epochs=1).history
    json.dumps(history)
    again = pickle.loads(pickle.dumps(local))
    assert int(again.sync_every) == int(local.sync_every)
    assert fit(linear(tf.distribute.get_strategy()), [again]).history.keys() == (
        history.keys()
    )
