import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import GradientTransform, UpdateScale
from keras_ext.optimizers import GradientPipeline
from keras_ext.signals import GradientStatistics
from tests._engine.parts import weights
from tests.thorough import LONG


class Triple(GradientTransform):
    def transform(self, gradients, variables):
        return [3.0 * g for g in gradients]


class Factor(UpdateScale):
    """Scales the updates by what a function says, and keeps what it was told."""

    def __init__(self, factor, **selection):
        super().__init__(**selection)
        self.rule = factor
        self.told = {}

    def factor(self, variable, move, learning_rate):
        self.told[variable.name] = (move, learning_rate)
        return self.rule(move)


class TestUpdateFactor:
    def moved(self, optimizer, *transforms, gradient=(1.0, -2.0), **options):
        variable = keras.Variable(np.zeros(2), dtype="float32", name="w")
        pipeline = GradientPipeline(optimizer, transforms, **options)
        for _ in range(2):
            pipeline.apply([tf.constant(gradient)], [variable])
        return variable.numpy()

    def test_scales_what_the_optimizer_did(self):
        halved = Factor(lambda move: 0.5)
        sgd = keras.optimizers.SGD(0.1, momentum=0.9)
        # Moves of 1 and 1.9 times the gradient.
        np.testing.assert_allclose(self.moved(sgd, halved), [-0.145, 0.29], rtol=1e-6)
        move, rate = halved.told["w"]
        np.testing.assert_allclose(move, [-0.19, 0.38], rtol=1e-6)
        assert float(rate) == pytest.approx(0.1)

    def test_one_number_for_each_weight(self):
        only_down = Factor(lambda move: keras.ops.cast(move < 0, "float32"))
        result = self.moved(keras.optimizers.SGD(1.0), only_down)
        np.testing.assert_array_equal(result, [-2.0, 0.0])

    def test_several_multiply_in_their_order(self):
        first, second = Factor(lambda move: 0.5), Factor(lambda move: 0.25)
        result = self.moved(keras.optimizers.SGD(1.0), first, second)
        np.testing.assert_array_equal(result, [-0.25, 0.5])
        np.testing.assert_array_equal(first.told["w"][0], [-1.0, 2.0])
        np.testing.assert_array_equal(second.told["w"][0], [-0.5, 1.0])

    def test_goes_with_a_rule_about_gradients(self):
        sign = Triple()
        result = self.moved(keras.optimizers.SGD(1.0), Factor(lambda move: 0.5), sign)
        np.testing.assert_array_equal(result, [-3.0, 6.0])

    def test_only_for_the_chosen_weights(self):
        variables = weights()
        halved = Factor(lambda move: 0.5, exclude="bias")
        pipeline = GradientPipeline(keras.optimizers.SGD(1.0), [halved])
        pipeline.apply([tf.ones(v.shape) for v in variables], variables)
        assert [float(v.numpy().ravel()[0]) for v in variables] == [-0.5, -1.0, -0.5]
        assert set(halved.told) == {"kernel", "gamma"}

    def test_the_learning_rate_is_that_of_the_update(self):
        rates = []
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.25])
        factor = Factor(lambda move: 1.0)
        variable = keras.Variable([0.0], name="w")
        pipeline = GradientPipeline(keras.optimizers.SGD(schedule), [factor])
        for _ in range(2):
            pipeline.apply([tf.ones(1)], [variable])
            move, rate = factor.told["w"]
            rates.append(float(rate))
            assert float(move[0]) == -rates[-1]
        assert rates == [0.5, 0.25]

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_signals_see_the_scaled_update(self, jit_compile):
        variable = keras.Variable([3.0, 4.0], name="w")
        statistics = GradientStatistics(("update_ratio",))
        pipeline = GradientPipeline(
            keras.optimizers.SGD(1.0),
            transforms=[Factor(lambda move: 0.25)],
            signals=[statistics],
        )
        pipeline.build([variable])

        @tf.function(autograph=False, jit_compile=jit_compile)
        def step():
            pipeline.apply([tf.constant([0.6, 0.8])], [variable])

        step()
        np.testing.assert_allclose(variable.numpy(), [2.85, 3.8], rtol=1e-6)
        ratio = statistics.read()["global"]["update_ratio"]
        assert ratio == pytest.approx(0.25 / 5, rel=0.06)

    def test_half_precision(self):
        variable = keras.Variable([1.0], dtype="float16", name="w")
        pipeline = GradientPipeline(
            keras.optimizers.SGD(1.0),
            transforms=[Factor(lambda move: tf.constant(0.5))],
        )
        pipeline.apply([tf.constant([0.5], "float16")], [variable])
        assert variable.dtype == "float16"
        assert float(variable[0]) == 0.75

    @pytest.mark.parametrize("accumulation_steps", [1, 2])
    @pytest.mark.thorough(LONG)
    def test_two_replicas_give_the_weights_of_one(self, strategies, accumulation_steps):
        def train(replicas):
            with strategies(replicas).scope():
                keras.utils.set_random_seed(0)
                model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
                # Longer moves are cut to a length, as a trust region does.
                cut = Factor(lambda m: keras.ops.minimum(1.0, 0.02 / keras.ops.norm(m)))
                adam = keras.optimizers.AdamW(0.05, weight_decay=0.1)
                pipeline = GradientPipeline(
                    adam, transforms=[cut], accumulation_steps=accumulation_steps
                )
                model.compile(pipeline, "mse")
            rng = np.random.default_rng(0)
            x, y = rng.normal(size=(64, 3)), rng.normal(size=(64, 2))
            model.fit(x, y, 16, epochs=3, shuffle=False, verbose=0)
            return model.get_weights()

        for a, e in zip(train(2), train(1), strict=True):
            np.testing.assert_allclose(a, e, atol=1e-6)

    def test_has_to_be_overridden(self):
        class Forgetful(UpdateScale):
            pass

        with pytest.raises(NotImplementedError, match=r"override factor\("):
            self.moved(keras.optimizers.SGD(1.0), Forgetful())
