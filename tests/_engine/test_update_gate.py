import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext import HyperVariable
from keras_ext.gradients import UpdateGate
from keras_ext.optimizers import GradientPipeline
from keras_ext.signals import GradientSignal
from tests._engine.parts import ScaleAndCount, weights
from tests.thorough import LONG


class Veto(UpdateGate):
    """Admits an update if its squared norm is less than a limit."""

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
    @pytest.mark.thorough(LONG)
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

        class Always(UpdateGate):
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
        class Forgetful(UpdateGate):
            pass

        pipeline = GradientPipeline("sgd", [Forgetful()])
        with pytest.raises(NotImplementedError, match=r"override admits\("):
            pipeline.apply([tf.ones(1)], [keras.Variable([0.0], name="w")])
