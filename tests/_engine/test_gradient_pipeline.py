import functools
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.gradients import AdaptiveClip, ClipByGlobalNorm, GradientTransform
from keras_ext.optimizers import GradientPipeline
from tests.rewind import rewound
from tests.thorough import thorough_but

FIXTURES = Path(__file__).parents[1] / "fixtures"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(512, 12)).astype("float32")
Y = RNG.normal(size=(512, 3)).astype("float32")


def make_model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(16, "tanh", name="hidden"),
            keras.layers.Dense(3, name="head"),
        ]
    )


@functools.cache
def train(
    strategy,
    make_optimizer,
    batch_size=256,
    epochs=3,
    policy="float32",
    **compile_options,
):
    """Trains in `strategy`, in the order of the data; returns all weights in a row."""
    keras.config.set_dtype_policy(policy)
    with strategy.scope():
        model = make_model()
        model.compile(make_optimizer(), "mse", **compile_options)
    model.fit(X, Y, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0)
    return flat(model.get_weights())


def flat(weights):
    return np.concatenate([np.ravel(w) for w in weights])


def sgd():
    return keras.optimizers.SGD(0.1, momentum=0.9)


def scaled_sgd():
    return keras.optimizers.LossScaleOptimizer(sgd())


def adam():
    return keras.optimizers.Adam(0.01)


def adamw():
    return keras.optimizers.AdamW(1e-2, weight_decay=0.01, global_clipnorm=0.1)


AS_IN_OPTAX = {
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-8),
    "lion": lambda: keras.optimizers.Lion(0.01, weight_decay=0.1),
}


@functools.cache
def clipped(inner=sgd, **options):
    """The same function for the same arguments, so that `train` knows it again."""
    return lambda: GradientPipeline(inner(), [AdaptiveClip(0.02)], **options)


class TestReplicaInvariance:
    @pytest.mark.parametrize("inner", thorough_but({adamw}, [sgd, adamw]))
    def test_two_replicas_give_the_weights_of_one(self, strategies, inner):
        one = train(strategies(1), clipped(inner))
        two = train(strategies(2), clipped(inner))
        np.testing.assert_allclose(two, one, atol=1e-5)

    @pytest.mark.parametrize("inner", thorough_but({adamw}, [sgd, adamw]))
    @pytest.mark.parametrize("replicas", thorough_but({2}, [1, 2]))
    def test_four_batches_of_64_are_one_of_256(self, strategies, inner, replicas):
        whole = train(strategies(1), clipped(inner))
        parts = train(
            strategies(replicas), clipped(inner, accumulation_steps=4), batch_size=64
        )
        np.testing.assert_allclose(parts, whole, atol=1e-5)

    def test_why_we_exist_keras_clips_each_replica(self, strategies):
        def clipnorm():
            return keras.optimizers.SGD(3.0, clipnorm=0.05)

        plain = [train(strategies(r), clipnorm) for r in (1, 2)]
        piped = [
            train(strategies(r), lambda: GradientPipeline(clipnorm())) for r in (1, 2)
        ]
        assert np.abs(plain[0] - plain[1]).max() > 0.1
        np.testing.assert_allclose(piped[0], plain[0], atol=1e-6)
        np.testing.assert_allclose(piped[1], plain[0], atol=1e-5)

    def test_several_inner_optimizers(self, strategies):
        def several():
            chosen = keras.optimizers.OptimizerMap(
                sgd(), {"head": keras.optimizers.Adam(0.01)}
            )
            return keras.optimizers.MultiOptimizer(chosen)

        if not hasattr(keras.optimizers, "MultiOptimizer"):
            pytest.skip("MultiOptimizer is new in Keras 3.15")
        one = train(strategies(1), clipped(several))
        two = train(strategies(2), clipped(several))
        np.testing.assert_allclose(two, one, atol=1e-5)


WORDS = np.random.default_rng(0).integers(0, 30, (128, 6))


class Watched(keras.optimizers.SGD):
    def update_step(self, gradient, variable, learning_rate):
        if "embedding" in variable.name:
            self.saw_sparse = isinstance(gradient, tf.IndexedSlices)
        super().update_step(gradient, variable, learning_rate)


class Unchanged(GradientTransform):
    def transform(self, gradients, variables):
        return gradients


def trained_on_words(optimizer, x, first, batch_size, **compile_options):
    """All weights in a row, where `first` turns words into vectors."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([first, keras.layers.Flatten(), keras.layers.Dense(3)])
    model.build((None, *x.shape[1:]))
    model.compile(optimizer, "mse", **compile_options)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.fit(x, Y[:128], batch_size, epochs=2, shuffle=False, verbose=0)
    return flat(model.get_weights())


@functools.cache
def trained_on_one_hot_words(make):
    one_hot = np.eye(30, dtype="float32")[WORDS]
    kernel = keras.layers.Dense(4, use_bias=False)
    return trained_on_words(make(), one_hot, kernel, 64)


class TestWhereFitWorks:
    @pytest.mark.parametrize(
        "options",
        [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 4}],
        ids=lambda options: next(iter(options)),
    )
    def test_every_way_to_run_a_step_gives_the_same_weights(self, strategies, options):
        make = clipped(accumulation_steps=2, signals=())
        expected = train(strategies(1), make, batch_size=64)
        actual = train(strategies(1), make, batch_size=64, **options)
        np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_without_transforms_it_is_the_wrapped_optimizer(self, strategies):
        for inner in (sgd, adamw, keras.optimizers.Lion, keras.optimizers.Adafactor):
            expected = train(strategies(1), inner, batch_size=64)
            actual = train(
                strategies(1), lambda make=inner: GradientPipeline(make()), 64
            )
            np.testing.assert_array_equal(actual, expected)

    @pytest.mark.parametrize(
        ("make", "replicas", "steps"),
        thorough_but(
            {(adam, 2, 2)}, [(adam, 2, 2), (adam, 1, 1), (sgd, 2, 1), (sgd, 1, 2)]
        ),
    )
    def test_embedding_is_a_dense_layer_on_one_hot_words(
        self, strategies, make, replicas, steps
    ):
        with strategies(replicas).scope():
            optimizer = GradientPipeline(make(), accumulation_steps=steps)
            embedding = keras.layers.Embedding(30, 4)
            actual = trained_on_words(optimizer, WORDS, embedding, 64 // steps)
        expected = trained_on_one_hot_words(make)
        np.testing.assert_allclose(actual, expected, atol=1e-5)

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_rows_stay_rows_where_no_part_needs_all_of_them(self, jit_compile):
        clips = [
            kx.gradients.ClipByGlobalNorm(0.05),
            kx.gradients.ClipByNorm(0.03),
            kx.gradients.ClipByValue(0.005),
            kx.gradients.ClipByNorm(0.01, per="unit", exclude="embedding"),
        ]
        norms = kx.signals.GradientStatistics(("gradient_norm", "update_ratio"))
        needs_all = Unchanged(include="embedding")
        results = []
        for parts, arrives_sparse in ((clips, True), ([*clips, needs_all], False)):
            inner = Watched(0.5)
            optimizer = GradientPipeline(inner, parts, signals=[norms])
            embedding = keras.layers.Embedding(30, 4)
            weights = trained_on_words(
                optimizer, WORDS, embedding, 64, jit_compile=jit_compile
            )
            assert inner.saw_sparse == arrives_sparse
            results.append((weights, norms.read()["global"]["gradient_norm"]))
        np.testing.assert_allclose(*(w for w, _ in results), atol=1e-6)
        np.testing.assert_allclose(*(n for _, n in results), rtol=1e-5)

    def test_custom_train_step(self, strategies):
        class Custom(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(3)

            def call(self, x):
                return self.dense(x)

            def train_step(self, data):
                x, y = data
                with tf.GradientTape() as tape:
                    loss = self.compute_loss(x, y, self(x))
                weights = self.trainable_variables
                self.optimizer.apply(tape.gradient(loss, weights), weights)
                return {"loss": loss}

        results = []
        for make in (sgd, lambda: GradientPipeline(sgd())):
            keras.utils.set_random_seed(0)
            model = Custom()
            model.compile(make(), "mse")
            model.fit(X, Y, shuffle=False, verbose=0)
            results.append(flat(model.get_weights()))
        np.testing.assert_array_equal(*results)


class TestAccumulation:
    def test_follows_a_number_that_changes_between_batches(self):
        """Linear regression in NumPy, with micro-batches grouped by hand."""
        groups = [1, 1, 3, 2, 4, 1]
        x, y = X[:120, :4].astype("float64"), Y[:120, :1].astype("float64")
        batches = list(zip(np.split(x, 12), np.split(y, 12), strict=True))
        w, start = np.zeros((4, 1)), 0
        for size in groups:
            gradients = [
                2 * a.T @ (a @ w - b) / len(a) for a, b in batches[start : start + size]
            ]
            w -= 0.1 * np.mean(gradients, axis=0)
            start += size

        steps = kx.HyperVariable(1, "accumulation_steps", bounds=(1, 8), dtype="int32")
        pipeline = GradientPipeline(keras.optimizers.SGD(0.1), accumulation_steps=steps)
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(1, "linear", False, "zeros")]
        )
        model.compile(pipeline, "mse")

        class Group(keras.callbacks.Callback):
            schedule = [size for size in groups for _ in range(size)]

            def on_train_batch_begin(self, batch, logs=None):
                steps.assign(self.schedule[batch])

        model.fit(x, y, batch_size=10, shuffle=False, callbacks=[Group()], verbose=0)
        np.testing.assert_allclose(model.get_weights()[0], w, atol=1e-6)
        assert int(pipeline.iterations) == len(groups)

    def test_counts_updates_so_schedules_do(self):
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1.0, 0.0])
        pipeline = GradientPipeline(
            keras.optimizers.SGD(schedule), accumulation_steps=2
        )
        weight = keras.Variable([0.0])
        for _ in range(8):  # four updates; the schedule lets two of them move it
            pipeline.apply([tf.constant([1.0])], [weight])
        assert int(pipeline.iterations) == 4
        assert weight.numpy().tolist() == [-2.0]

    def test_one_step_keeps_no_accumulators(self):
        weight = keras.Variable(np.zeros(1000))
        one, two = (
            GradientPipeline(sgd(), accumulation_steps=steps) for steps in (1, 2)
        )
        sizes = []
        for pipeline in (one, two):
            pipeline.build([weight])
            sizes.append(
                sum(np.prod(v.shape, dtype=int) for v in pipeline.own_variables)
            )
        assert sizes[0] < 10
        assert sizes[1] >= 1000

    def test_a_fixed_number_cannot_be_changed_in_secret(self):
        pipeline = GradientPipeline(sgd())
        with pytest.raises(ValueError, match="must be 1: it is fixed"):
            pipeline.accumulation_steps.assign(4)
        assert int(pipeline.accumulation_steps) == 1

    @pytest.mark.parametrize("replicas", thorough_but({2}, [1, 2]))
    def test_flush_applies_the_rest_once(self, strategies, replicas):
        with strategies(replicas).scope():
            pipeline = GradientPipeline(keras.optimizers.SGD(1.0), accumulation_steps=4)
            model = keras.Sequential(
                [keras.Input((1,)), keras.layers.Dense(1, None, False, "zeros")]
            )
            model.compile(pipeline, "mse")
        # Three of four micro-batches; the gradient of (w x - y)**2 at w = 0 is -2 x y.
        x, y = np.ones((6, 1)), np.repeat([[1.0], [2.0], [3.0]], 2, axis=0)
        model.fit(x, y, batch_size=2, shuffle=False, verbose=0)
        assert model.get_weights()[0].item() == 0.0
        pipeline.flush()
        pipeline.flush()
        assert model.get_weights()[0].item() == pytest.approx(4.0)
        assert int(keras.ops.convert_to_numpy(pipeline.iterations)) == 1

    def test_end_of_unknown_data_is_no_step(self):
        """The step that finds no more data must not count as a micro-batch."""
        data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(64)
        endless = data.filter(lambda x, y: True)  # whose length nobody knows
        pipeline = GradientPipeline(sgd(), accumulation_steps=4)
        model = make_model()
        model.compile(pipeline, "mse")
        with warnings.catch_warnings():
            # Keras warns about the end of data in the epochs after the first.
            warnings.filterwarnings("ignore", "Your input ran out of data")
            model.fit(endless, epochs=3, shuffle=False, verbose=0)
        assert int(pipeline.iterations) == 6

    @pytest.mark.parametrize("optimizer", list(AS_IN_OPTAX))
    def test_equals_optax_multi_steps(self, optimizer):
        """Twelve micro-steps of K = 3, from `make_multi_steps.py`."""
        numbers = np.load(FIXTURES / "multi_steps.npz")
        weight = keras.Variable(numbers["start"])
        pipeline = GradientPipeline(AS_IN_OPTAX[optimizer](), accumulation_steps=3)
        for gradient, expected in zip(
            numbers["gradients"], numbers[optimizer], strict=True
        ):
            pipeline.apply([tf.constant(gradient)], [weight])
            np.testing.assert_allclose(weight.numpy(), expected, atol=1e-6)

    @pytest.mark.parametrize("replicas", thorough_but({1}, [1, 2]))
    @pytest.mark.parametrize("optimizer", list(AS_IN_OPTAX))
    def test_equals_optax_while_the_number_changes(
        self, strategies, optimizer, replicas
    ):
        """With a clip inside. The gradients of the replicas add up to the given one."""
        numbers = np.load(FIXTURES / "multi_steps.npz")
        strategy = strategies(replicas)
        steps = kx.HyperVariable(1, "accumulation_steps", bounds=(1, 8), dtype="int32")
        with strategy.scope():
            weight = keras.Variable(numbers["start"])
            pipeline = GradientPipeline(
                AS_IN_OPTAX[optimizer](),
                transforms=[ClipByGlobalNorm(0.5)],
                accumulation_steps=steps,
            )
            pipeline.build([weight])

        # Once as in most loops of one's own, where autograph reads our code too.
        @tf.function(autograph=optimizer == "momentum")
        def step(gradient):
            def on_replica():
                replica = tf.distribute.get_replica_context().replica_id_in_sync_group
                share = tf.constant([[1.0], [0.25, 0.75]][replicas - 1])
                pipeline.apply([gradient * tf.gather(share, replica)], [weight])

            strategy.run(on_replica)

        counts = [k for k in (1, 2, 3, 2, 4) for _ in range(k)]
        pairs = zip(numbers["gradients"], numbers[f"{optimizer}_clipped"], strict=True)
        for count, (gradient, expected) in zip(counts, pairs, strict=True):
            steps.assign(count)
            step(tf.constant(gradient))
            np.testing.assert_allclose(weight.numpy(), expected, atol=1e-6)
        assert int(keras.ops.convert_to_numpy(pipeline.iterations)) == 5


@rewound
def clipped_model(replicas):
    model = make_model()
    model.compile(clipped(adamw)(), "mse")
    return model


class TestNonfinite:
    @pytest.mark.parametrize("bad", thorough_but({np.nan}, [np.nan, np.inf, -np.inf]))
    @pytest.mark.parametrize("replicas", thorough_but({2}, [1, 2]))
    def test_update_is_left_out_and_counted(self, strategies, bad, replicas):
        # One bad sample, so that only one of two replicas sees it.
        x = X.copy()
        x[70, 3] = bad
        keep = np.r_[0:64, 128:512]
        good = clipped_model(replicas=1)
        good.fit(X[keep], Y[keep], batch_size=64, shuffle=False, verbose=0)
        expected = flat(good.get_weights())
        assert good.optimizer.nonfinite_steps == 0

        with strategies(replicas).scope():
            model = clipped_model(replicas=replicas)
        model.fit(x, Y, batch_size=64, shuffle=False, verbose=0)
        np.testing.assert_allclose(flat(model.get_weights()), expected, atol=1e-5)
        assert model.optimizer.nonfinite_steps == 1

    def test_accumulation_goes_on_after_it(self):
        pipeline = GradientPipeline(keras.optimizers.SGD(1.0), accumulation_steps=2)
        weight = keras.Variable([0.0])
        for value in (np.nan, 1.0, 3.0, 5.0):
            pipeline.apply([tf.constant([value])], [weight])
        assert weight.numpy().tolist() == [-4.0]
        assert pipeline.nonfinite_steps == 1


class TestLossScaling:
    @pytest.mark.parametrize("replicas", thorough_but({2}, [1, 2]))
    @pytest.mark.parametrize("steps", thorough_but({4}, [1, 4]))
    def test_inside_changes_nothing_but_the_scale(self, strategies, replicas, steps):
        options = {"accumulation_steps": steps}
        expected = train(strategies(1), clipped(**options), 256 // steps)
        make = clipped(scaled_sgd, **options)
        actual = train(strategies(replicas), make, 256 // steps)
        np.testing.assert_allclose(actual, expected, atol=1e-5)

    @pytest.mark.parametrize("replicas", thorough_but({2}, [1, 2]))
    def test_outside(self, strategies, replicas):
        def scaled():
            return keras.optimizers.LossScaleOptimizer(clipped()())

        expected = train(strategies(1), clipped())
        actual = train(strategies(replicas), scaled)
        np.testing.assert_allclose(actual, expected, atol=1e-5)

    def test_scale_moves_as_in_keras(self):
        states = []
        for wrap in (lambda o: o, GradientPipeline):
            scaler = keras.optimizers.LossScaleOptimizer(
                keras.optimizers.SGD(0.1), initial_scale=8.0, dynamic_growth_steps=2
            )
            optimizer, weight = wrap(scaler), keras.Variable([1.0])
            optimizer.build([weight])
            history = []
            for value in (1.0, 1.0, np.inf, 1.0, np.nan, 1.0, 1.0, 1.0):
                scale = float(optimizer.scale_loss(tf.constant(1.0)))
                optimizer.apply([tf.constant([value * scale])], [weight])
                history.append(
                    (scale, int(scaler.step_counter), round(weight.numpy().item(), 6))
                )
            states.append(history)
        assert states[0] == states[1]
        assert len({scale for scale, *_ in states[0]}) > 2

    def test_fixed_factor(self):
        weight = keras.Variable([1.0])
        pipeline = GradientPipeline(
            keras.optimizers.SGD(0.1, loss_scale_factor=4.0),
            transforms=[AdaptiveClip(0.5)],
        )
        pipeline.apply(
            [tf.constant([8.0])], [weight]
        )  # a gradient of 2, clipped to 0.5
        assert weight.numpy().item() == pytest.approx(0.95)

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_mixed_precision_stays_close_to_float32(self, strategies, policy, wrapped):
        expected = train(strategies(1), clipped(), epochs=1)
        make = clipped(scaled_sgd if wrapped else sgd)
        actual = train(strategies(1), make, epochs=1, policy=policy)
        # bfloat16 has three digits.
        np.testing.assert_allclose(actual, expected, atol=5e-3)


class TestOutside:
    def test_forwards_what_the_wrapped_optimizer_has(self):
        inner = keras.optimizers.SGD(
            0.5, momentum=0.7, weight_decay=0.1, use_ema=True, ema_momentum=0.8
        )
        pipeline = GradientPipeline(inner)
        assert pipeline.momentum == 0.7
        assert pipeline.weight_decay == 0.1
        assert pipeline.use_ema
        assert pipeline.ema_momentum == 0.8
        pipeline.learning_rate = 0.25
        assert float(inner.learning_rate) == 0.25
        assert pipeline.iterations is inner.iterations
        with pytest.raises(AttributeError, match="no_such_thing"):
            _ = pipeline.no_such_thing

    def test_wrapped_optimizer_holds_only_its_own_variables(self):
        inner, alone = sgd(), sgd()
        weights = [keras.Variable(np.ones((2, 2)))]
        alone.build(weights)
        pipeline = GradientPipeline(inner, [AdaptiveClip()], accumulation_steps=2)
        for _ in range(2):
            pipeline.apply([tf.ones((2, 2))], weights)
        assert len(inner.variables) == len(alone.variables)
        names = [v.name for v in pipeline.variables]
        assert len(names) == len(pipeline.own_variables) + len(alone.variables)
        assert "clipping" in names

    def test_averages_and_swap_as_in_keras(self):
        results = []
        for wrap in (
            lambda o: o,
            GradientPipeline,
            keras.optimizers.LossScaleOptimizer,
        ):
            model = make_model()
            inner = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
            model.compile(wrap(inner), "mse")
            swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
            model.fit(X, Y, epochs=2, shuffle=False, callbacks=[swap], verbose=0)
            results.append(flat(model.get_weights()))
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_allclose(results[0], results[2], atol=1e-6)

    def test_learning_rate_callbacks_reach_the_wrapped_optimizer(self):
        model = make_model()
        model.compile(GradientPipeline(keras.optimizers.SGD(1.0)), "mse")
        halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        model.fit(X, Y, epochs=2, callbacks=[halve], verbose=0)
        assert float(model.optimizer.optimizer.learning_rate) == 0.25
        plateau = keras.callbacks.ReduceLROnPlateau("loss", 0.1, 1, min_delta=100.0)
        model.fit(X, Y, epochs=3, callbacks=[plateau], verbose=0)
        assert float(model.optimizer.learning_rate) < 0.25

    def test_weight_decay_exclusions(self):
        kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0])
        pipeline = GradientPipeline(keras.optimizers.SGD(0.1, weight_decay=0.5))
        pipeline.exclude_from_weight_decay(var_list=[bias])
        pipeline.apply([tf.zeros(1), tf.zeros(1)], [kernel, bias])
        assert kernel.numpy().item() == pytest.approx(0.95)
        assert bias.numpy().item() == 1.0

    def test_saved_training_resumes_where_it_stopped(self, tmp_path):
        """Also in the middle of an accumulation: 8 batches per epoch, 3 an update."""

        def fresh():
            model = make_model()
            steps = kx.HyperVariable(
                3, "accumulation_steps", bounds=(1, 8), scale="log", dtype="int32"
            )
            pipeline = GradientPipeline(
                keras.optimizers.AdamW(0.01),
                transforms=[AdaptiveClip(0.02, exclude="bias")],
                accumulation_steps=steps,
                unit_axes=kx.optimizers.unit_axes(model),
            )
            model.compile(pipeline, "mse")
            return model

        unbroken, broken = fresh(), fresh()
        unbroken.fit(X, Y, 64, epochs=4, shuffle=False, verbose=0)
        broken.fit(X, Y, 64, epochs=2, shuffle=False, verbose=0)
        broken.optimizer.transforms[0].clipping.assign(0.03)
        broken.save(tmp_path / "model.keras")
        resumed = keras.saving.load_model(tmp_path / "model.keras")
        clipping = resumed.optimizer.transforms[0].clipping
        assert float(clipping) == 0.03
        clipping.assign(0.02)
        resumed.fit(X, Y, 64, epochs=2, shuffle=False, verbose=0)
        np.testing.assert_allclose(
            flat(resumed.get_weights()), flat(unbroken.get_weights()), atol=1e-6
        )
        assert int(resumed.optimizer.iterations) == 4 * 8 // 3

    def test_config_round_trip(self):
        pipeline = GradientPipeline(
            keras.optimizers.LossScaleOptimizer(sgd()),
            transforms=[
                AdaptiveClip(0.3, epsilon=0.1, include="kernel", exclude=["head", "x"])
            ],
            accumulation_steps=5,
            unit_axes={"a/kernel": (0, 1)},
            name="piped",
        )
        config = pipeline.get_config()
        again = GradientPipeline.from_config(pipeline.get_config())
        assert again.get_config() == config
        assert again.accumulation_steps.bounds == (5, 5)
        assert again.unit_axes == {"a/kernel": (0, 1)}

    def test_set_weights_restores_the_whole_state(self):
        states = []
        for _ in range(2):
            weight = keras.Variable([1.0, 2.0])
            pipeline = GradientPipeline(sgd(), accumulation_steps=2)
            pipeline.build([weight])
            states.append((pipeline, weight))
        (first, w1), (second, w2) = states
        for _ in range(3):
            first.apply([tf.constant([1.0, -1.0])], [w1])
        w2.assign(w1)
        second.set_weights([v.numpy() for v in first.variables])
        for pipeline, weight in states:
            pipeline.apply([tf.constant([1.0, -1.0])], [weight])
        np.testing.assert_array_equal(w1.numpy(), w2.numpy())


class TestTransforms:
    def test_are_applied_in_order_after_the_sum_over_replicas(self, strategies):
        seen = []

        class Spy(GradientTransform):
            def __init__(self, factor):
                super().__init__()
                self.factor = factor

            def transform(self, gradients, variables):
                seen.append(self.factor)
                # Not linear: the order and the moment of the sum matter.
                return [self.factor * keras.ops.square(g) for g in gradients]

        results = []
        for replicas in (1, 2):
            with strategies(replicas).scope():
                model = keras.Sequential(
                    [keras.Input((1,)), keras.layers.Dense(1, None, False, "zeros")]
                )
                optimizer = GradientPipeline(
                    keras.optimizers.SGD(1.0), [Spy(2.0), Spy(3.0)]
                )
                model.compile(optimizer, "mse")
            y = np.array([[1.0], [0.0], [2.0], [5.0]])
            model.fit(np.ones((4, 1)), y, batch_size=4, verbose=0)
            results.append(model.get_weights()[0].item())
        # The gradient is -2 * mean(y) = -4; then 2 * 16 = 32, and 3 * 32**2 = 3072.
        assert results == pytest.approx([-3072.0, -3072.0])
        assert seen[:2] == [2.0, 3.0]

    def test_missing_gradients_are_skipped(self):
        used, unused = keras.Variable([1.0]), keras.Variable([1.0])
        pipeline = GradientPipeline(
            keras.optimizers.SGD(1.0),
            transforms=[AdaptiveClip(0.5)],
            accumulation_steps=2,
            signals=[kx.signals.GradientStatistics()],
        )
        for _ in range(2):
            pipeline.apply([tf.constant([9.0]), None], [used, unused])
        assert used.numpy().item() == pytest.approx(0.5)
        assert unused.numpy().item() == 1.0

    def test_values_that_replace_their_weight_pass_unshaped(self):
        weight, scale = keras.Variable([1.0]), keras.Variable([1.0])
        scale.overwrite_with_gradient = True
        pipeline = GradientPipeline(keras.optimizers.SGD(1.0), [AdaptiveClip(0.5)])
        pipeline.apply([tf.constant([9.0]), tf.constant([7.0])], [weight, scale])
        assert weight.numpy().item() == pytest.approx(0.5)
        assert scale.numpy().item() == 7.0
        with pytest.raises(ValueError, match="overwritten by their gradient"):
            GradientPipeline(sgd(), accumulation_steps=2).build([weight, scale])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"transforms": "agc"},
            "`transforms` must be a list of GradientTransform, Upd",
        ),
        ({"transforms": [1]}, r"Received: transforms=\[1\]"),
        ({"signals": [1]}, r"`signals` must be a list of GradientSignal\."),
        ({"accumulation_steps": 0}, r"must be an integer >= 1, or a HyperVariable"),
        ({"accumulation_steps": 1.5}, r"Received: accumulation_steps=1\.5"),
        ({"accumulation_steps": True}, r"Received: accumulation_steps=True"),
        (
            {"accumulation_steps": kx.HyperVariable(2, "n", bounds=(1, 4))},
            r"HyperVariable of dtype 'int32'",
        ),
        (
            {"unit_axes": [0]},
            r"`unit_axes` must be a dictionary .* Received: unit_axes=",
        ),
        (
            {"optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2)},
            r"without gradient_accumulation_steps.*Pass accumulation_steps to Grad",
        ),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientPipeline(**{"optimizer": keras.optimizers.SGD(), **arguments})


def test_rejects_a_step_without_any_gradient():
    with pytest.raises(ValueError, match="Does the loss depend on the trainable"):
        GradientPipeline(sgd()).apply([None], [keras.Variable([1.0])])
