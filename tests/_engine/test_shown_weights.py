import contextlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext._keras._optimizer_family import optimizer_family
from keras_ext.gradients import AfterUpdate, ClipByGlobalNorm, Freeze
from keras_ext.optimizers import (
    ADMM,
    Cautious,
    GradientPipeline,
    Lookahead,
    Mechanic,
    Proximal,
    ScheduleFree,
)
from keras_ext.optimizers.operators import L1Shrinkage
from tests.thorough import LONG, thorough_but

MADE = {
    "lookahead": lambda: Lookahead(keras.optimizers.Adam(0.05), sync_period=3),
    "schedule_free": lambda: ScheduleFree(
        keras.optimizers.Adam(0.05, beta_1=0.0), beta=0.8
    ),
    "in a pipeline": lambda: GradientPipeline(
        ScheduleFree(keras.optimizers.SGD(0.1)), accumulation_steps=2
    ),
}
NESTED = {
    "lookahead around an operator": lambda: Lookahead(
        Proximal(keras.optimizers.SGD(0.1), L1Shrinkage(0.3), include="weight|kernel"),
        sync_period=2,
    ),
    "a mean around a mask": lambda: ScheduleFree(Cautious(keras.optimizers.SGD(0.1))),
    "copies around a mean": lambda: ADMM(
        ScheduleFree(keras.optimizers.SGD(0.1)),
        L1Shrinkage(0.3),
        rho=1.0,
        sync_period=2,
        include="weight|kernel",
    ),
    "lookahead around a learned rate": lambda: Lookahead(
        Mechanic(keras.optimizers.SGD(1.0), initial_scale=0.1), sync_period=2
    ),
    "a pipeline around lookahead": lambda: GradientPipeline(
        Lookahead(keras.optimizers.Adam(0.1), sync_period=2), [ClipByGlobalNorm(1.0)]
    ),
}
X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = np.float32(X @ [[1.0], [-2.0], [0.5]])


def model(optimizer, *layers):
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    # What is traced is the same for all optimizers: see `test_every_optimizer`.
    made.compile(optimizer, "mse", run_eagerly=True)
    return made


def trained_weights(model):
    return [np.array(v) for v in model.trainable_variables]


def fit(model, epochs=1, callbacks=(), **options):
    return model.fit(
        X, Y, 20, epochs, shuffle=False, verbose=0, callbacks=[*callbacks], **options
    )


def test_who_looks_leaves_every_bit_where_turning_is_not_exact():
    rng = np.random.default_rng(0)
    weight = keras.Variable(rng.normal(size=200).astype("float32"))
    optimizer = ScheduleFree(keras.optimizers.SGD(0.1), beta=0.8)
    for _ in range(3):
        gradient = tf.constant(rng.normal(size=200), "float32")
        optimizer.apply([gradient], [weight])
    trained = weight.numpy()
    with optimizer.evaluation_weights():
        assert (weight.numpy() != trained).any()
    np.testing.assert_array_equal(weight.numpy(), trained)


class Looking(keras.callbacks.Callback):
    """Looks in all ways after every epoch."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.records = []

    def on_epoch_end(self, epoch, logs=None):
        trained = trained_weights(self.model)
        shown = self.model.get_weights()
        loaded = self.saved_and_loaded() if epoch == 0 else self.records[0][2]
        expected = X @ shown[0] + shown[1]
        outputs = [self.model.predict(X, verbose=0), self.model.predict_on_batch(X)]
        for output in [*outputs, *([loaded(X)] if epoch == 0 else [])]:
            np.testing.assert_allclose(output, expected, atol=1e-5)
        loss = np.mean((expected - Y) ** 2)
        np.testing.assert_allclose(logs["val_loss"], loss, rtol=1e-4)
        np.testing.assert_allclose(self.model.test_on_batch(X, Y), loss, rtol=1e-4)
        for a, e in zip(trained_weights(self.model), trained, strict=True):
            np.testing.assert_array_equal(a, e)
        self.records.append((trained, shown, loaded))

    def saved_and_loaded(self):
        self.model.save(self.path)
        return keras.models.load_model(self.path)


each = pytest.mark.parametrize("name", thorough_but({"schedule_free"}, list(MADE)))


@each
@pytest.mark.thorough(LONG)
def test_who_looks_sees_the_shown_weights_and_changes_nothing(name, tmp_path):
    undisturbed = model(MADE[name]())
    fit(undisturbed, epochs=2)
    looked_at, look = model(MADE[name]()), Looking(tmp_path / "model.keras")
    fit(looked_at, epochs=2, callbacks=[look], validation_data=(X, Y))
    trained, shown, _ = look.records[-1]
    assert any(np.abs(a - e).max() > 1e-3 for a, e in zip(trained, shown, strict=True))
    # After `fit` the model has them.
    for a, e, u in zip(
        trained_weights(looked_at), shown, undisturbed.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, e)
        np.testing.assert_array_equal(a, u)
    # And the file of the first epoch, which is the shown weights, goes on there.
    loaded = look.records[0][2]
    fit(loaded)
    for a, e in zip(loaded.get_weights(), shown, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)


@pytest.mark.thorough(LONG)
def test_two_fits_and_batches_one_by_one_are_one_fit():
    made = [model(MADE["schedule_free"]()) for _ in range(3)]
    fit(made[0], epochs=2)
    fit(made[1])
    fit(made[1])
    for rows in [slice(20), slice(20, 40)] * 2:
        made[2].train_on_batch(X[rows], Y[rows])
    for a, b, c in zip(*(m.get_weights() for m in made), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)
        np.testing.assert_allclose(c, a, atol=1e-6)


@each
@pytest.mark.thorough(LONG)
def test_restoring_the_best_is_of_what_was_shown(name):
    stopping = keras.callbacks.EarlyStopping(
        "val_loss", mode="max", restore_best_weights=True
    )
    trained = model(MADE[name]())
    history = fit(trained, 3, [stopping], validation_data=(X, Y))
    # The loss falls, so that the best is the first.
    assert len(history.epoch) == 2
    first = history.history["val_loss"][0]
    np.testing.assert_allclose(trained.evaluate(X, Y, verbose=0), first, rtol=1e-5)
    # They are a new start: one update from there is near.
    trained.optimizer.learning_rate = 1e-4
    best = trained.get_weights()
    fit(trained)
    for a, e in zip(trained.get_weights(), best, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-2)


def test_a_loop_of_ones_own_from_a_file(tmp_path):
    made = model(MADE["lookahead"]())
    fit(made)
    made.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    optimizer = loaded.optimizer
    assert optimizer.shows
    shown = trained_weights(loaded)
    optimizer.learning_rate = 0.0
    gradients = [tf.zeros(v.shape) for v in loaded.trainable_variables]
    optimizer.apply(gradients, loaded.trainable_variables)
    assert not optimizer.shows
    assert np.any(trained_weights(loaded)[0] != shown[0])
    with optimizer.evaluation_weights():
        assert optimizer.shows
    assert not optimizer.shows


@pytest.mark.thorough(LONG)
def test_two_replicas_show_the_weights_of_one(strategies):
    def seen(replicas):
        strategy = strategies(replicas)
        with strategy.scope():
            weight = keras.Variable([1.0, 2.0], name="weight")
            optimizer = MADE["schedule_free"]()
            optimizer.build([weight])
        shares = {1: [1.0], 2: [0.25, 0.75]}[replicas]
        found = []

        @tf.function(autograph=False)
        def step(gradient):
            def apply():
                context = tf.distribute.get_replica_context()
                share = tf.gather(shares, context.replica_id_in_sync_group)
                optimizer.apply([share * gradient], [weight])

            strategy.run(apply)

        for gradient in np.random.default_rng(0).normal(size=(4, 2)):
            step(tf.constant(np.float32(gradient)))
            with optimizer.evaluation_weights():
                found.append(np.array(weight))
        optimizer.finalize_variable_values([weight])
        return [*found, np.array(weight)]

    for a, e in zip(seen(2), seen(1), strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)


@pytest.mark.parametrize("around", [Lookahead, ScheduleFree, Mechanic, Cautious])
def test_a_mean_is_not_moved_by_what_does_not_know_it(around):
    """A mean of a mean ended at 2.4, where the minimum is 1, and one alone at 1.0."""
    inner = ScheduleFree(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match=r"optimizer=\['ScheduleFree'\]"):
        around(inner)


class Kept(AfterUpdate):
    def new_values(self, variables, learning_rate):
        return [v.value for v in variables]


@pytest.mark.parametrize("part", [Freeze(), Kept()], ids=["rest", "change"])
@pytest.mark.parametrize("name", ["lookahead", "schedule_free"])
def test_weights_that_are_kept_beside_do_not_go_on_alone(name, part):
    """Those at rest were shown at 9.7, where they rested at 3."""
    optimizer = GradientPipeline(MADE[name](), [part])
    with pytest.raises(ValueError, match="around the GradientPipeline"):
        optimizer.build([keras.Variable([3.0], name="weight")])


each_nested = pytest.mark.parametrize(
    "name", thorough_but({"a pipeline around lookahead"}, list(NESTED))
)


def test_a_callback_that_keeps_weights_at_rest_says_so():
    freeze = kx.callbacks.GradualUnfreezing([(1, "kernel")])
    with pytest.raises(ValueError, match=r"\['Lookahead'\]. Leave out the callback"):
        fit(model(MADE["lookahead"]()), callbacks=[freeze])


def stepped(optimizer, weights, strategy, gradients):
    """The trained and the shown weights after updates from sparse gradients."""
    replicas = strategy.num_replicas_in_sync

    @tf.function(autograph=False)
    def step(gradient):
        def apply():
            # A row that comes twice.
            halves = tf.concat([gradient / 2, gradient / 2], 0) / replicas
            rows = tf.IndexedSlices(halves, tf.constant([0, 1, 0, 1]), (2, 3))
            optimizer.apply([rows], weights)

        strategy.run(apply)

    for gradient in gradients:
        step(tf.constant(gradient))
    trained = np.array(weights[0])
    shown = [m for m in optimizer_family(optimizer) if hasattr(type(m), "shows")]
    with contextlib.ExitStack() as stack:
        for member in reversed(shown):
            stack.enter_context(member.evaluation_weights())
        return trained, np.array(weights[0])


@each_nested
def test_nested_ones_are_the_same_on_two_replicas(name, strategies):
    gradients = np.float32(np.random.default_rng(0).normal(size=(5, 2, 3)))
    found = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            weights = [keras.Variable(np.ones((2, 3), "float32"), name="weight")]
            optimizer = NESTED[name]()
            optimizer.build(weights)
        found.append(stepped(optimizer, weights, strategies(replicas), gradients))
    for one, two in zip(*found, strict=True):
        assert np.abs(one - 1).max() > 1e-2
        np.testing.assert_allclose(two, one, atol=1e-6)


@each_nested
def test_nested_ones_go_on_from_a_file(name, tmp_path):
    made = model(NESTED[name]())
    fit(made)
    made.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (made, loaded):
        each.compile(each.optimizer, "mse", run_eagerly=True)
        fit(each)
    for a, e in zip(loaded.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(a, e)


def test_statistics_of_batch_normalization_are_told_of_or_made_anew():
    norm = keras.layers.BatchNormalization()
    made = model(MADE["schedule_free"](), keras.layers.Dense(2), norm)
    with pytest.warns(UserWarning, match="ScheduleFree trains other weights than"):
        fit(made)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(made, callbacks=[kx.callbacks.RecalibrateBatchNorm((X, Y))])
    inputs = made.layers[0](X)
    np.testing.assert_allclose(norm.moving_mean, np.mean(inputs, axis=0), atol=1e-5)


def test_a_training_that_fails_leaves_the_shown_weights():
    def fail(*_):
        raise RuntimeError("on purpose")

    made = model(MADE["schedule_free"]())
    callback = keras.callbacks.LambdaCallback(on_epoch_end=fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        fit(made, callbacks=[callback])
    assert made.optimizer.shows
