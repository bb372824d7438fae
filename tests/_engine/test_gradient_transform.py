"""What a transform of one's own gets from the base class."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext import HyperVariable
from keras_ext.gradients import ClipUpdateRMS, GradientTransform, ZClip
from keras_ext.optimizers import GradientPipeline
from keras_ext.signals import GradientSignal, GradientStatistics
from tests.thorough import thorough_but


class ScaleAndCount(GradientTransform):
    """Multiplies by a live factor, and counts its calls in a variable of its own."""

    def __init__(self, factor, include=None, exclude=None):
        super().__init__(include=include, exclude=exclude)
        self.factor = HyperVariable(factor, "factor")
        self.offset = HyperVariable(0.0, "offset")
        self.name_of_no_interest = "factor"

    def build(self, variables, unit_axes):
        super().build(variables, unit_axes)
        self.calls = keras.Variable(0, dtype="int32", trainable=False, name="calls")
        self.state = [*self.state, self.calls]

    def transform(self, gradients, variables):
        self.seen = [v.name for v in variables]
        self.calls.assign_add(1)
        return [g * self.factor.value + self.offset.value for g in gradients]


def weights():
    return [
        keras.Variable(np.zeros((2, 3)), dtype="float32", name="kernel"),
        keras.Variable(np.zeros(3), dtype="float32", name="bias"),
        keras.Variable(np.zeros(3), dtype="float32", name="gamma"),
    ]


def applied(transform, variables):
    """What is left of gradients 1, 2, 3 after one step of length 1."""
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    gradients = [tf.fill(v.shape, i + 1.0) for i, v in enumerate(variables)]
    optimizer.apply(gradients, variables)
    return [-v.numpy().ravel()[0] for v in variables]


@pytest.mark.parametrize(
    ("kwargs", "seen", "result"),
    [
        ({}, ["kernel", "bias", "gamma"], [10, 20, 30]),
        ({"include": "a"}, ["bias", "gamma"], [1, 20, 30]),
        ({"include": ["ker", "ga"]}, ["kernel", "gamma"], [10, 2, 30]),
        ({"exclude": r"^bias$"}, ["kernel", "gamma"], [10, 2, 30]),
        ({"include": lambda v: len(v.shape) == 2}, ["kernel"], [10, 2, 3]),
        ({"exclude": lambda v: len(v.shape) == 2}, ["bias", "gamma"], [1, 20, 30]),
        ({"include": "a", "exclude": ["b", "x"]}, ["gamma"], [1, 2, 30]),
        ({"exclude": ""}, [], [1, 2, 3]),
    ],
)
def test_only_the_chosen_variables_are_transformed(kwargs, seen, result):
    transform = ScaleAndCount(10.0, **kwargs)
    assert applied(transform, weights()) == result
    assert transform.seen == seen


def test_the_name_is_the_class_in_words():
    assert ScaleAndCount(1.0).name == "scale_and_count"
    assert GradientTransform().name == "gradient_transform"
    assert ClipUpdateRMS().name == "clip_update_rms"
    assert ZClip().name == "z_clip"


def test_finds_the_hyperparameters_in_attributes():
    transform = ScaleAndCount(3.0)
    assert transform.hyper_variables == [transform.factor, transform.offset]
    assert GradientTransform().hyper_variables == []


def test_building_makes_the_hyperparameters_live():
    transform = ScaleAndCount(3.0)
    assert not transform.factor.built
    transform.build([], {})
    assert transform.state == [
        transform.factor.variable,
        transform.offset.variable,
        transform.calls,
    ]


def test_state_of_its_own_is_kept_and_saved_with_the_optimizer():
    transform = ScaleAndCount(1.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    variables = weights()

    @tf.function(autograph=False)
    def step():
        optimizer.apply([tf.ones(v.shape) for v in variables], variables)

    optimizer.build(variables)
    for _ in range(3):
        step()
    assert int(transform.calls) == 3
    assert any(v is transform.calls for v in optimizer.variables)
    assert any(v is transform.factor.variable for v in optimizer.variables)


def test_transforms_act_in_the_order_they_are_given():
    variable = keras.Variable(np.zeros(1), dtype="float32", name="w")
    add, double = ScaleAndCount(1.0), ScaleAndCount(2.0)
    add.offset.assign(5.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [add, double])
    optimizer.apply([tf.ones(1)], [variable])
    assert float(variable[0]) == -12.0


def test_axes_are_those_of_the_model_or_the_last_axis():
    transform = GradientTransform()
    conv = keras.Variable(np.zeros((2, 3, 4)), dtype="float32", name="conv")
    kernel = keras.Variable(np.zeros((2, 3, 4)), dtype="float32", name="kernel")
    optimizer = GradientPipeline("sgd", [transform], unit_axes={"conv": [0, 2]})
    optimizer.build([conv, kernel])
    assert transform.axes(conv) == (0, 2)
    assert transform.axes(kernel) == (0, 1)


def test_transform_has_to_be_overridden():
    class Forgetful(GradientTransform):
        pass

    message = r"^Forgetful must override transform\(gradients, variables\)\.$"
    with pytest.raises(NotImplementedError, match=message):
        Forgetful()([tf.ones(3)], [keras.Variable(np.zeros(3))])


def test_a_transform_that_loses_a_gradient_is_noticed():
    class Loses(GradientTransform):
        def transform(self, gradients, variables):
            return gradients[1:]

    with pytest.raises(ValueError, match="shorter"):
        Loses()([tf.ones(3)], [keras.Variable(np.zeros(3))])


EXPECTED = "a regular expression, a list of them, a function or None"


@pytest.mark.parametrize("name", ["include", "exclude"])
@pytest.mark.parametrize(
    ("pattern", "received"),
    [
        (3, "3."),
        (["kernel", 3], "['kernel', 3]."),
        ("kernel(", "'kernel('. 'kernel(' fails: "),
        (["ok", "*"], "['ok', '*']. '*' fails: nothing to repeat at position 0."),
    ],
)
def test_rejects_what_is_no_pattern(name, pattern, received):
    message = f"`{name}` must be {EXPECTED}. Received: {name}={received}"
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        GradientTransform(**{name: pattern})


def test_config_has_the_patterns():
    config = GradientTransform(include="a", exclude=["b"]).get_config()
    assert config == {"include": "a", "exclude": ["b"]}
    assert GradientTransform.from_config(config).get_config() == config


class Factor(GradientTransform):
    """Scales the updates by what a function says, and keeps what it was told."""

    scales_updates = True

    def __init__(self, factor, **selection):
        super().__init__(**selection)
        self.factor = factor
        self.told = {}

    def update_factor(self, variable, move, learning_rate):
        self.told[variable.name] = (move, learning_rate)
        return self.factor(move)


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
        sign = ScaleAndCount(3.0)
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

    @pytest.mark.parametrize("accumulation_steps", thorough_but({1}, [1, 2]))
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
        class Forgetful(GradientTransform):
            scales_updates = True

        with pytest.raises(NotImplementedError, match=r"override update_factor\("):
            self.moved(keras.optimizers.SGD(1.0), Forgetful())


class Veto(GradientTransform):
    """Admits an update if its squared norm is less than a limit."""

    rejects_updates = True

    def __init__(self, limit, **selection):
        super().__init__(**selection)
        self.limit = HyperVariable(limit, "limit")

    def build(self, variables, unit_axes):
        super().build(variables, unit_axes)
        self.asked = self.add_state((), "asked")

    def admits(self, squared_norms, variables, finite):
        self.told = (squared_norms, [v.name for v in variables], finite)
        self.asked.assign_add(1.0)
        return keras.ops.sum(squared_norms) < self.limit.value


class CountUpdates(GradientSignal):
    def build(self, variables, unit_axes):
        self.calls = self.add_state((), "calls")

    def before_update(self, update):
        self.calls.assign_add(1.0)


class TestAdmits:
    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("replicas", [1, 2])
    @pytest.mark.parametrize("accumulation_steps", [1, 3])
    def test_a_rejected_update_leaves_no_trace(
        self, strategies, replicas, accumulation_steps, jit_compile
    ):
        strategy = strategies(replicas)
        with strategy.scope():
            variable = keras.Variable([0.0], name="w")
            adam = keras.optimizers.AdamW(0.1, use_ema=True, weight_decay=0.1)
            veto, other = Veto(4.0), ScaleAndCount(1.0)
            count = CountUpdates()
            pipeline = GradientPipeline(
                adam,
                transforms=[veto, other],
                accumulation_steps=accumulation_steps,
                signals=[count],
            )
            pipeline.build([variable])

        @tf.function(autograph=False, jit_compile=jit_compile and replicas == 1)
        def step(x):
            strategy.run(
                lambda: pipeline.apply([tf.fill((1,), x) / replicas], [variable])
            )

        def state_after(x):
            for _ in range(accumulation_steps):
                step(tf.constant(x))
            tracked = [variable, *adam.variables, count.calls]
            return [np.array(keras.ops.convert_to_numpy(v)) for v in tracked]

        first = state_after(1.0)
        for rejected in (3.0, float("nan"), -2.0):
            for a, e in zip(state_after(rejected), first, strict=True):
                np.testing.assert_array_equal(a, e)
        assert pipeline.nonfinite_steps == 1
        assert float(keras.ops.convert_to_numpy(veto.asked)) == 4.0
        second = state_after(1.0)
        assert second[0] < first[0] < 0
        assert float(keras.ops.convert_to_numpy(count.calls)) == 2.0

    def test_is_told_the_norms_of_the_whole_batch(self):
        variables = weights()
        veto = Veto(1e9, exclude="bias")
        pipeline = GradientPipeline(keras.optimizers.SGD(1.0), [ScaleAndCount(9), veto])
        gradients = [tf.fill(v.shape, i + 1.0) for i, v in enumerate(variables)]
        pipeline.apply([*gradients[:2], None], variables)
        squares, names, finite = veto.told
        # Before the transforms, of all that have a gradient.
        np.testing.assert_allclose(squares, [6.0, 12.0])
        assert names == ["kernel", "bias"]
        assert bool(finite)

    def test_all_have_to_admit_it(self):
        for limits in ((4.0, 100.0), (100.0, 4.0)):
            variable = keras.Variable([0.0], name="w")
            vetoes = [Veto(limit) for limit in limits]
            pipeline = GradientPipeline(keras.optimizers.SGD(1.0), transforms=vetoes)
            for gradient in (1.0, 5.0, 20.0):
                pipeline.apply([tf.constant([gradient])], [variable])
            assert float(variable[0]) == -1.0
            # Also those after one that has rejected it: they may keep statistics.
            assert [float(v.asked) for v in vetoes] == [3.0, 3.0]

    def test_one_that_admits_everything_cannot_admit_nan(self):
        variable = keras.Variable([0.0], name="w")

        class Always(GradientTransform):
            rejects_updates = True

            def admits(self, squared_norms, variables, finite):
                return True

        pipeline = GradientPipeline(keras.optimizers.SGD(1.0), [Always()])
        pipeline.apply([tf.constant([float("nan")])], [variable])
        assert float(variable[0]) == 0.0
        pipeline.apply([tf.constant([1.0])], [variable])
        assert float(variable[0]) == -1.0

    def test_the_rest_of_an_accumulation_can_be_rejected_too(self):
        """By `flush`, when no more batches come."""
        variable = keras.Variable([0.0], name="w")
        veto = Veto(4.0)
        pipeline = GradientPipeline(
            keras.optimizers.SGD(1.0), [veto], accumulation_steps=4
        )
        for gradient in (3.0, 0.5):
            pipeline.apply([tf.constant([gradient])], [variable])
            pipeline.flush()
        assert float(variable[0]) == -0.5
        assert float(veto.asked) == 2.0

    def test_has_to_be_overridden(self):
        class Forgetful(GradientTransform):
            rejects_updates = True

        pipeline = GradientPipeline("sgd", [Forgetful()])
        with pytest.raises(NotImplementedError, match=r"override admits\("):
            pipeline.apply([tf.ones(1)], [keras.Variable([0.0], name="w")])


def test_check_is_called_at_the_end_of_fit():
    class Stop(GradientTransform):
        def transform(self, gradients, variables):
            return gradients

        def check(self):
            raise ArithmeticError("enough")

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(GradientPipeline("sgd", [Stop()]), "mse")
    with pytest.raises(ArithmeticError, match="enough"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)


def test_state_may_begin_with_other_numbers_than_zero():
    class Remember(GradientTransform):
        def build(self, variables, unit_axes):
            super().build(variables, unit_axes)
            self.row = self.add_state((2,), "row", initial=[3.0, 4.0])
            self.count = self.add_state((), "count", initial=7, dtype="int32")

        def transform(self, gradients, variables):
            self.count.assign_add(1)
            return gradients

    transform = Remember()
    variable = keras.Variable([0.0], name="w")
    pipeline = GradientPipeline(keras.optimizers.SGD(1.0), [transform])

    @tf.function(autograph=False)
    def step():
        # Built while it is traced.
        pipeline.apply([tf.ones(1)], [variable])

    step()
    np.testing.assert_array_equal(transform.row.numpy(), [3.0, 4.0])
    assert int(transform.count) == 8
