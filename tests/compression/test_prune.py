import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext import detach
from keras_ext.compression import ConstantSparsity, PolynomialDecay, Prune
from keras_ext.optimizers import GradientPipeline
from tests.compression.tfmot import arrays
from tests.thorough import MATRIX, thorough_but

TRAINING = arrays("training/")
DECAY = {"begin_step": 4, "end_step": 36, "frequency": 4}


def make_model(optimizer=None, **compiled):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="tanh", name="hidden"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    model.set_weights([TRAINING[f"initial/{i}"] for i in range(4)])
    if optimizer is None:
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(optimizer, "mse", **compiled)
    return model


def fit(model, *callbacks, epochs=9, **kwargs):
    options = {"batch_size": 12, "shuffle": False, "verbose": 0, **kwargs}
    return model.fit(
        TRAINING["x"],
        TRAINING["y"],
        epochs=epochs,
        callbacks=list(callbacks),
        **options,
    )


def prune(schedule=None, **kwargs):
    schedule = schedule or PolynomialDecay(0.2, 0.75, **DECAY)
    return Prune(schedule, verbose=0, **kwargs)


def kernels(model):
    return [np.array(w) for w in model.get_weights()[::2]]


def zeros(model):
    return [float(np.mean(kernel == 0)) for kernel in kernels(model)]


class Kept(keras.callbacks.Callback):
    """Notes what is not zero before each batch."""

    def on_train_begin(self, logs=None):
        self.masks = []

    def on_train_batch_begin(self, batch, logs=None):
        self.masks.append([kernel != 0 for kernel in kernels(self.model)])


def test_a_training_is_that_of_tfmot_mask_by_mask():
    model, kept = make_model(), Kept()
    fit(model, prune(), kept)
    for i, masks in enumerate(zip(*kept.masks, strict=True)):
        np.testing.assert_array_equal(masks, TRAINING[f"masks/{i}"])
    for i, weight in enumerate(model.get_weights()):
        np.testing.assert_allclose(weight, TRAINING[f"final/{i}"], atol=1e-5)


@pytest.mark.parametrize(
    "way", thorough_but(["XLA"], ["XLA", "executions", "eager", "pipeline"])
)
def test_it_is_the_same_in_each_way_to_run(way):
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    options = {
        "XLA": {"jit_compile": True},
        "executions": {"steps_per_execution": 5},
        "eager": {"run_eagerly": True},
    }
    if way == "pipeline":
        optimizer = GradientPipeline(optimizer)
    model = make_model(optimizer, **options.get(way, {}))
    fit(model, prune())
    for i, weight in enumerate(model.get_weights()):
        np.testing.assert_allclose(weight, TRAINING[f"final/{i}"], atol=1e-5)


def test_two_replicas_prune_as_one(strategies):
    with strategies(2).scope():
        model = make_model()
    fit(model, prune())
    for i, weight in enumerate(model.weights):
        for replica in weight.value.values:
            np.testing.assert_allclose(replica, TRAINING[f"final/{i}"], atol=1e-5)


@pytest.mark.thorough(MATRIX)
@pytest.mark.parametrize("scope", ["global", "adaptive"])
def test_two_replicas_rank_all_weights_as_one(scope, strategies):
    with strategies(2).scope():
        model = make_model()
    fit(model, prune(scope=scope))
    single = make_model(jit_compile=True)
    fit(single, prune(scope=scope))
    for weight, expected in zip(model.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-5)


@pytest.mark.parametrize("whose", thorough_but(["Keras"], ["Keras", "pipeline"]))
def test_accumulation_counts_updates_and_not_batches(whose):
    schedule = PolynomialDecay(0.0, 0.75, begin_step=1, end_step=9, frequency=2)
    optimizer = keras.optimizers.SGD(0.01, gradient_accumulation_steps=5)
    if whose == "pipeline":
        sgd = keras.optimizers.SGD(0.01)
        optimizer = GradientPipeline(sgd, accumulation_steps=5)
    model, kept = make_model(optimizer), Kept()
    fit(model, prune(schedule), kept)
    # Before updates 3, 5, 7 and 9, of five batches each.
    found = np.array([m[0].mean() for m in kept.masks])
    changes = np.flatnonzero(np.diff(found)) + 1
    np.testing.assert_array_equal(changes, [10, 20, 30, 40])
    assert zeros(model) == [0.75, 0.75]


@pytest.mark.thorough(MATRIX)
def test_averages_and_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        adam = keras.optimizers.Adam(0.01, use_ema=True, weight_decay=0.01)
        model = make_model(keras.optimizers.LossScaleOptimizer(adam))
    finally:
        keras.config.set_dtype_policy("float32")
    fit(model, prune())
    assert zeros(model) == [0.75, 0.75]


@pytest.mark.parametrize(
    "criterion", thorough_but(["movement"], ["movement", "taylor", "random"])
)
def test_criteria(criterion):
    model = make_model()
    history = fit(model, prune(criterion=criterion, scope="global"))
    kept = np.concatenate([k.ravel() != 0 for k in kernels(model)])
    assert kept.mean() == 0.25
    assert history.history["sparsity"][-1] == pytest.approx(0.75)
    by_magnitude = np.concatenate([TRAINING[f"final/{i}"].ravel() != 0 for i in (0, 2)])
    assert (kept != by_magnitude).any()


def test_zeros_survive_a_restore_of_weights_whatever_the_order():
    stop = keras.callbacks.EarlyStopping(
        "loss", patience=99, restore_best_weights=True, mode="max"
    )
    model, callback = make_model(), prune()
    fit(model, callback, stop)  # the first epoch is restored, which was dense
    assert zeros(model) == [0.75, 0.75]
    assert callback.report.sparsity == 0.75


def test_a_schedule_that_cannot_end_is_an_error():
    message = r"`schedule` must be one that ends within the 35 updates .*Its masks are"
    with pytest.raises(ValueError, match=message):
        fit(make_model(), prune(), epochs=7)


def test_a_training_that_stops_too_early_warns():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = make_model()
    with pytest.warns(UserWarning, match=r"after 5 updates.*step 36.*not 0\.750"):
        fit(model, prune(), Stop())


def test_a_frequency_that_misses_the_end_warns():
    schedule = PolynomialDecay(0.0, 0.8, begin_step=0, end_step=45, frequency=20)
    # An error, as all warnings here, so that nothing is trained.
    with pytest.raises(UserWarning, match=r"before step 40 and not before end_step=45"):
        fit(make_model(), prune(schedule))


def test_a_weight_without_gradient_is_an_error():
    class Detached(keras.layers.Layer):
        def call(self, x):
            return keras.ops.stop_gradient(x)

    first, last = keras.layers.Dense(4, name="first"), keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((6,)), first, Detached(), last])
    model.compile("sgd", "mse")
    schedule = ConstantSparsity(0.5, begin_step=1)
    message = "which get no gradient and are not pruned"
    with (
        pytest.warns(UserWarning, match="Gradients do not exist"),
        pytest.raises(ValueError, match=message),
    ):
        fit(model, prune(schedule), epochs=1)
    assert first.kernel.constraint is None


def test_copies_work_and_saved_models_are_plain(tmp_path):
    callback = prune()
    callback.set_model(other := make_model())
    callback.on_train_begin()
    copied = pickle.loads(pickle.dumps(copy.deepcopy(callback)))
    detach(other)
    model = make_model()
    fit(model, copied, keras.callbacks.ModelCheckpoint(tmp_path / "m.keras"))
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert [w.shape for w in loaded.weights] == [w.shape for w in model.weights]
    assert zeros(loaded) == [0.75, 0.75]


def test_says_what_it_prunes(capsys):
    model = make_model()
    schedule = ConstantSparsity(0.5, begin_step=1)
    fit(model, Prune(schedule, include="head"), epochs=1, verbose=2)
    skipped = "Skipped: hidden/kernel: it is not selected."
    said = capsys.readouterr().out.splitlines()
    assert f"Prune: 1 weight with 16 numbers. {skipped}" in said
    fit(model, Prune(schedule, include="head"), epochs=1)
    assert capsys.readouterr().out == ""


@pytest.mark.thorough(MATRIX)
def test_a_loop_of_its_own():
    model, callback = make_model(), prune()
    callback.set_model(model)
    callback.on_train_begin()
    data = tf.data.Dataset.from_tensor_slices((TRAINING["x"], TRAINING["y"])).batch(12)
    for _ in range(9):
        for x, y in data:
            model.train_on_batch(x, y)
    callback.on_train_end()
    for i, weight in enumerate(model.get_weights()):
        np.testing.assert_allclose(weight, TRAINING[f"final/{i}"], atol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"m_by_n": (4, 2)}, r"`m_by_n` must be \(m, n\) with m zeros in n entries"),
        ({"m_by_n": (2, 4)}, r"`schedule` must be a ConstantSparsity of 0\.5"),
        ({"block_size": (4,)}, r"`block_size` must be two integers"),
        ({"criterion": "size"}, r'`criterion` must be "magnitude", "movement", "tay'),
        ({"include": "no such"}, r"`include` must be such that some weight is left"),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        fit(make_model(), prune(**kwargs))
