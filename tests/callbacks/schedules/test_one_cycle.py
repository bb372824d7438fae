import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.callbacks import OneCycle
from tests.streams import FIXTURES
from tests.thorough import MATRIX, thorough_but

TORCH = dict(np.load(FIXTURES / "schedules.npz"))
RATES, MOMENTA = TORCH["one_cycle/cos"], TORCH["betas/cos"]
X = np.ones((20, 1), "float32")


def make_model(optimizer=None, **options):
    """One weight whose gradient is -1, so that it shows every rate and momentum."""
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, name="dense")]
    )
    model.set_weights([np.zeros((1, 1))])
    optimizer = optimizer or keras.optimizers.SGD(1.0, momentum=0.5)
    model.compile(optimizer, lambda y, p: -p, **options)
    return model


def fit(model, *callbacks, batch_size=2, epochs=4, **options):
    options = {"verbose": 0, "shuffle": False, **options}
    return model.fit(
        X, X, batch_size=batch_size, epochs=epochs, callbacks=list(callbacks), **options
    ).history


def weight(model):
    return model.get_weights()[0].item()


def followed(rates, momenta):
    """The weight after these updates: v = m * v + rate, w = w + v, as Keras does."""
    velocity = place = 0.0
    for rate, momentum in zip(rates, momenta, strict=True):
        velocity = momentum * velocity + rate
        place += velocity
    return place


EXPECTED = followed(RATES, MOMENTA)


def pipeline():
    sgd = keras.optimizers.SGD(1.0, momentum=0.5)
    return kx.optimizers.GradientPipeline(sgd, accumulation_steps=2)


def scaled():
    sgd = keras.optimizers.SGD(1.0, momentum=0.5)
    return keras.optimizers.LossScaleOptimizer(sgd, initial_scale=1.0)


def scheduled():
    rex = kx.schedules.Rex(1.0, 10)
    return keras.optimizers.SGD(rex, momentum=0.5)


WAYS = {
    "graph": {},
    "five steps at once": {"steps_per_execution": 5},
    "eager": {"run_eagerly": True},
    "XLA": {"jit_compile": True},
    "accumulation, five steps at once": {
        "optimizer": pipeline,
        "steps_per_execution": 5,
    },
    "loss scaling": {"optimizer": scaled},
    "a schedule before": {"optimizer": scheduled},
    "two replicas": {},
}


@pytest.mark.parametrize(
    "way", thorough_but(["accumulation, five steps at once"], WAYS)
)
def test_follows_torch_update_by_update(way, strategies):
    """The weight is where the rates and the momenta of `OneCycleLR` lead it."""
    options = dict(WAYS[way])
    with strategies(2 if way == "two replicas" else 1).scope():
        optimizer = options.pop("optimizer", lambda: None)()
        model = make_model(optimizer, **options)
    batch_size = 1 if way.startswith("accumulation") else 2
    history = fit(model, OneCycle(0.5), batch_size=batch_size)
    assert weight(model) == pytest.approx(EXPECTED, rel=1e-5)
    np.testing.assert_allclose(history["learning_rate"][:3], RATES[[10, 20, 30]], 1e-5)
    np.testing.assert_allclose(history["momentum"][:3], MOMENTA[[10, 20, 30]], 1e-5)


def test_the_optimizer_is_as_before_and_the_next_fit_a_new_cycle():
    model = make_model()
    cycle = OneCycle(0.5)
    for _ in range(2):
        model.set_weights([np.zeros((1, 1))])
        fit(model, cycle)
        assert float(model.optimizer.learning_rate) == 1.0
        assert model.optimizer.momentum == 0.5
        assert type(model.optimizer.momentum) is float
        assert "_get_current_learning_rate" not in vars(model.optimizer)
        for velocity in model.optimizer.variables[2:]:
            velocity.assign(keras.ops.zeros_like(velocity))
        assert weight(model) == pytest.approx(EXPECTED, rel=1e-5)
    copy.deepcopy(cycle)


@pytest.mark.parametrize("remembered", thorough_but([True], [True, False]))
def test_a_training_that_goes_on_goes_on_with_the_cycle(tmp_path, remembered):
    """Killed after two epochs; and where nothing but the model was saved."""

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    backup = keras.callbacks.BackupAndRestore(tmp_path)
    model = make_model()
    fit(model, epochs=1)  # whose updates do not count
    model.set_weights([np.zeros((1, 1))])
    model.optimizer.variables[2].assign([[0.0]])
    if remembered:
        with pytest.raises(KeyboardInterrupt):
            fit(model, OneCycle(0.5), backup, Kill())
        model = make_model()
        fit(model, OneCycle(0.5), backup)
    else:
        fit(model, OneCycle(0.5, total_steps=40), epochs=2)
        fit(model, OneCycle(0.5), epochs=4, initial_epoch=2)
    assert weight(model) == pytest.approx(EXPECTED, rel=1e-5)


def test_without_a_momentum_it_cycles_the_rate_unless_told_to():
    model = make_model(keras.optimizers.SGD(1.0))
    history = fit(model, OneCycle(0.5))
    assert weight(model) == pytest.approx(RATES.sum(), rel=1e-5)
    assert "momentum" not in history
    with pytest.raises(ValueError, match=r"with a momentum, or cycle_momentum=False"):
        fit(model, OneCycle(0.5, cycle_momentum=True))


@pytest.mark.thorough(MATRIX)
def test_adam_gets_its_beta_1_and_may_keep_it():
    model = make_model("adam")
    history = fit(model, OneCycle(0.5), epochs=1)
    assert history["momentum"] == [pytest.approx(0.95)]
    history = fit(model, OneCycle(0.5, cycle_momentum=False), epochs=1)
    assert "momentum" not in history


def test_data_of_unknown_length_need_a_number():
    model = make_model()
    data = tf.data.Dataset.from_tensor_slices((X, X)).batch(2).filter(lambda x, y: True)
    with pytest.raises(ValueError, match=r"`total_steps` must be given.*steps_per_ep"):
        model.fit(data, callbacks=[OneCycle(0.5)], shuffle=False, verbose=0)
    assert model.optimizer.momentum == 0.5
    options = {"steps_per_epoch": 40, "shuffle": False, "verbose": 0}
    model.fit(data.repeat(), callbacks=[OneCycle(0.5)], **options)
    assert weight(model) == pytest.approx(EXPECTED, rel=1e-5)


def test_says_what_has_no_effect_and_what_cannot_be():
    model = make_model()
    other = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
    with pytest.warns(UserWarning, match="Somebody has set the learning rate"):
        fit(model, OneCycle(0.5), other)
    with pytest.raises(ValueError, match="one of them moves 'optimizer/learning_rate'"):
        fit(model, OneCycle(0.5), OneCycle(0.1))
    grow = kx.callbacks.DynamicBatchSize([(1, 2)])
    with pytest.raises(ValueError, match=r"`total_steps` must be given"):
        fit(model, OneCycle(0.5), grow)


def test_it_takes_one_learning_rate():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("MultiOptimizer is new in Keras 3.15")
    several = keras.optimizers.MultiOptimizer(
        {"dense": keras.optimizers.SGD(0.1), ".*": keras.optimizers.SGD(0.2)}
    )
    with pytest.raises(ValueError, match="one with a single learning rate"):
        fit(make_model(several), OneCycle(0.5))


@pytest.mark.thorough(MATRIX)
def test_keras_own_accumulation_counts_updates_too():
    sgd = keras.optimizers.SGD(1.0, momentum=0.5, gradient_accumulation_steps=2)
    model = make_model(sgd)
    fit(model, OneCycle(0.5), batch_size=1)
    assert weight(model) == pytest.approx(EXPECTED, rel=1e-5)
