"""A bound on updates that come to nothing, and where they began."""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import SkipNonFinite
from keras_ext.optimizers import GradientPipeline
from tests.thorough import thorough_but

NAN, INF = float("nan"), float("inf")
NAMES = ("first", "middle", "last")


def make(transform, optimizer=None, **options):
    variables = [keras.Variable([1.0], name=name) for name in NAMES]
    optimizer = GradientPipeline(
        optimizer or keras.optimizers.SGD(1.0), [transform], **options
    )
    optimizer.build(variables)
    return optimizer, variables


def apply(optimizer, variables, *values):
    """Applies a gradient for each of `values`: one number, or one for each weight."""
    for value in values:
        numbers = np.broadcast_to(np.float32(value), len(variables))
        optimizer.apply([tf.constant([x]) for x in numbers], variables)


def skip_with(*values, **arguments):
    transform = SkipNonFinite(**{"raise_in_step": False, **arguments})
    apply(*make(transform), *values)
    return transform


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 3e38])
def test_counts_what_the_pipeline_leaves_out(bad):
    transform = SkipNonFinite(max_consecutive=2, raise_in_step=False)
    optimizer, variables = make(transform)
    apply(optimizer, variables, 1.0, bad, bad, 2.0, bad)
    assert transform.skipped == optimizer.nonfinite_steps == 3
    assert int(optimizer.iterations) == 2
    assert [float(v[0]) for v in variables] == [-2.0] * 3
    transform.check()


@pytest.mark.parametrize("bound", [0, 1, 3])
def test_fails_when_there_are_more_in_a_row_than_the_bound(bound):
    skip_with(1.0, *[NAN] * bound, 1.0, *[NAN] * bound, max_consecutive=bound).check()
    transform = skip_with(1.0, *[NAN] * (bound + 1), max_consecutive=bound)
    message = rf"^More than max_consecutive={bound} updates in a row .* in update 2, "
    with pytest.raises(FloatingPointError, match=message):
        transform.check()


def test_does_not_forget_that_it_failed():
    transform = skip_with(NAN, 1.0, NAN, NAN, NAN, 1.0, 1.0, NAN, max_consecutive=2)
    message = r"in update 3, .* In all, 5 of 8 updates were left out\."
    for _ in range(2):
        with pytest.raises(FloatingPointError, match=message):
            transform.check()


@pytest.mark.parametrize(
    ("gradient", "named"),
    [
        ([NAN, NAN, NAN], "last"),
        ([NAN, INF, 1.0], "middle"),
        ([INF, 1.0, 1.0], "first"),
        ([1.0, NAN, 1.0], "middle"),
    ],
)
def test_names_the_weight_that_the_backward_pass_came_to_first(gradient, named):
    # What is bad later in the row tells nothing new.
    transform = skip_with(1.0, gradient, [NAN] * 3, max_consecutive=1)
    with pytest.raises(
        FloatingPointError, match=f"gradient of '{named}', which was NaN"
    ):
        transform.check()


def test_looks_at_the_chosen_weights_only():
    transform = skip_with([NAN, 1.0, 1.0], max_consecutive=0, exclude="first")
    assert transform.skipped == 0
    transform.check()


def test_the_place_is_right_when_some_weights_have_no_gradient():
    transform = SkipNonFinite(0, raise_in_step=False)
    optimizer, variables = make(transform)
    optimizer.apply([None, tf.constant([NAN]), None], variables)
    with pytest.raises(FloatingPointError, match="gradient of 'middle'"):
        transform.check()


class TestInTheStep:
    """Without XLA the update itself fails."""

    def test_eagerly_and_in_a_graph(self):
        message = "SkipNonFinite: more than max_consecutive updates in a row"
        for compiles in (False, True):
            optimizer, variables = make(SkipNonFinite(1))
            step = functools.partial(apply, optimizer, variables, NAN)
            act = tf.function(lambda f=step: f(), autograph=False) if compiles else step
            act()
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                act()
            # The reason is there to be asked for.
            with pytest.raises(FloatingPointError, match="in update 1, .*'last'"):
                optimizer.transforms[0].check()
            assert [float(v[0]) for v in variables] == [1.0] * 3

    def test_says_which_weight(self):
        optimizer, variables = make(SkipNonFinite(0))
        message = re.compile(r"weight.*1.*of.*first.*middle.*last", re.DOTALL)
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            apply(optimizer, variables, [1.0, NAN, 1.0])

    def test_xla_does_not_mind_and_check_tells(self):
        optimizer, variables = make(SkipNonFinite(0))

        @tf.function(autograph=False, jit_compile=True)
        def step(x):
            optimizer.apply([tf.fill((1,), x)] * 3, variables)

        for value in (1.0, NAN, 1.0):
            step(tf.constant(value))
        assert [float(v[0]) for v in variables] == [-1.0] * 3
        with pytest.raises(FloatingPointError, match="began in update 2"):
            optimizer.check()

    def test_on_two_replicas(self, strategies):
        strategy = strategies(2)
        with strategy.scope():
            optimizer, variables = make(SkipNonFinite(1))

        @tf.function(autograph=False)
        def step(x):
            # Only one of the replicas has seen it.
            def apply():
                context = tf.distribute.get_replica_context()
                is_first = tf.equal(context.replica_id_in_sync_group, 0)
                value = tf.where(is_first, x, 1.0)
                optimizer.apply([tf.fill((1,), value)] * 3, variables)

            strategy.run(apply)

        for value in (1.0, NAN):
            step(tf.constant(value))
        assert optimizer.transforms[0].skipped == 1
        with pytest.raises(tf.errors.InvalidArgumentError, match="max_consecutive"):
            step(tf.constant(NAN))
        with pytest.raises(FloatingPointError, match="began in update 2, .*'last'"):
            optimizer.check()

    @pytest.mark.parametrize("replicas", thorough_but({2}, [1, 2]))
    def test_accumulated_batches_are_one_update(self, strategies, replicas):
        strategy = strategies(replicas)
        with strategy.scope():
            optimizer, variables = make(SkipNonFinite(1), accumulation_steps=2)

        @tf.function(autograph=False)
        def step(x):
            strategy.run(
                lambda: optimizer.apply([tf.fill((1,), x + 0.0)] * 3, variables)
            )

        values = (1.0, 1.0, NAN, 1.0, 1.0)
        for value in values:
            step(tf.constant(value))
        assert optimizer.transforms[0].skipped == 1
        with pytest.raises(tf.errors.InvalidArgumentError, match="max_consecutive"):
            step(tf.constant(NAN))
        with pytest.raises(FloatingPointError, match="began in update 2"):
            optimizer.check()


class TestInFit:
    def model(self, transform, **options):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        optimizer = GradientPipeline(keras.optimizers.SGD(0.1), [transform])
        model.compile(optimizer, "mse", **options)
        return model

    def test_the_end_of_fit_checks(self):
        model = self.model(SkipNonFinite(2), jit_compile=True)
        x, y = np.full((6, 2), NAN), np.ones((6, 1))
        with pytest.raises(
            FloatingPointError, match=r"began in update 1, .*dense\w*/bias"
        ):
            model.fit(x, y, batch_size=2, verbose=0)

    def test_the_step_fails_without_xla(self):
        model = self.model(SkipNonFinite(2), jit_compile=False)
        x, y = np.full((20, 2), NAN), np.ones((20, 1))
        with pytest.raises(tf.errors.InvalidArgumentError, match="SkipNonFinite"):
            model.fit(x, y, batch_size=2, verbose=0)
        assert model.optimizer.transforms[0].skipped == 3

    def test_a_loss_scale_may_look_for_its_place(self):
        """The gradient, 2 ** 7, is to be below 2 ** 16 when it is scaled."""
        keras.config.set_dtype_policy("mixed_float16")
        model = keras.Sequential(
            [keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")]
        )
        scaler = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(1e-6), initial_scale=2.0**23
        )
        transform = SkipNonFinite()
        model.compile(
            GradientPipeline(scaler, transforms=[transform]),
            "mse",
            auto_scale_loss=False,
        )
        x, y = np.full((40, 1), 8.0), np.zeros((40, 1))
        model.fit(x, y, batch_size=1, verbose=0)
        assert transform.skipped == 7 + 23 - 15
        assert int(model.optimizer.iterations) == 40 - 15


def test_is_saved(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    transform = SkipNonFinite(1, raise_in_step=False)
    model.compile(GradientPipeline(keras.optimizers.SGD(0.1), [transform]), "mse")
    model.optimizer.build(model.trainable_variables)
    bad = [tf.fill(v.shape, NAN) for v in model.trainable_variables]
    model.optimizer.apply(bad, model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.optimizer.apply(bad, loaded.trainable_variables)
    with pytest.raises(FloatingPointError, match="began in update 1, .*/bias"):
        loaded.optimizer.check()


def test_the_bound_is_live():
    transform = SkipNonFinite(1, raise_in_step=False)
    optimizer, variables = make(transform)
    transform.max_consecutive.assign(3)
    apply(optimizer, variables, NAN, NAN, NAN)
    transform.check()
    apply(optimizer, variables, NAN)
    with pytest.raises(FloatingPointError, match="max_consecutive=3"):
        transform.check()


def test_before_it_is_used_nothing_is_wrong():
    transform = SkipNonFinite()
    assert transform.skipped == 0
    transform.check()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_consecutive": -1}, "`max_consecutive` must be an integer >= 0"),
        ({"max_consecutive": 1.5}, "`max_consecutive` must be an integer >= 0"),
        ({"raise_in_step": 1}, "`raise_in_step` must be True or False"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SkipNonFinite(**arguments)
