"""What all schedules have in common: whose values they have, and where they work."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.schedules import (
    CosineRestartsWithWarmup,
    CyclicalLearningRate,
    InverseSquareRoot,
    OneCycle,
    Rex,
    Sequential,
    Warmup,
    WarmupStableDecay,
)
from tests.streams import FIXTURES
from tests.thorough import MATRIX

ORACLE = dict(np.load(FIXTURES / "schedules.npz"))
decays = keras.optimizers.schedules


@keras.saving.register_keras_serializable("tests")
def slowly(cycle):
    return 1 / (5 ** (cycle * 0.0001))


CASES = {
    "cyclic/triangular": CyclicalLearningRate(0.1, 0.5, 7),
    "cyclic/triangular2": CyclicalLearningRate(0.1, 0.5, 7, "triangular2"),
    "cyclic/exp_range": CyclicalLearningRate(0.1, 0.5, 7, "exp_range", gamma=0.9),
    "cyclic/function": CyclicalLearningRate(0.1, 0.5, 7, slowly),
    "one_cycle/cos": OneCycle(0.5, 40),
    "one_cycle/linear": OneCycle(
        0.5, 40, anneal_strategy="linear", pct_start=0.45, div_factor=10.0
    ),
    "one_cycle/three_phase": OneCycle(0.5, 40, three_phase=True, final_div_factor=50.0),
    **{
        f"wsd/{decay}": WarmupStableDecay(
            1.0, 40, warmup_steps=5, decay_steps=15, decay=decay
        )
        for decay in ("1-sqrt", "linear", "cos")
    },
    "warmup/linear": Warmup(1.0, 8, start=0.25),
    "sequential/torch": Sequential(
        [Warmup(1.0, 8, start=0.25), decays.ExponentialDecay(1.0, 1, 0.8)], [8]
    ),
    "sequential/optax": Sequential(
        [0.3, decays.CosineDecay(0.5, 20), decays.ExponentialDecay(0.2, 10, 0.5)],
        [10, 40],
    ),
    "restarts": CosineRestartsWithWarmup(
        0.5, 12, warmup_steps=4, t_mul=2.0, m_mul=0.8, alpha=0.1
    ),
    "rex": Rex(0.5, 30, min_learning_rate=0.1),
    "noam": InverseSquareRoot((64 * 30) ** -0.5, 30),
}
every_case = pytest.mark.parametrize("name", CASES)


def test_all_are_compared_with_an_oracle():
    compared = {type(schedule).__name__ for schedule in CASES.values()}
    assert compared == set(kx.schedules.__all__) - {"Schedule", "plot"}
    assert {name for name in ORACLE if not name.startswith("betas/")} == set(CASES)


@every_case
def test_has_the_values_of_torch_and_optax(name):
    expected = ORACLE[name]
    actual = CASES[name](np.arange(len(expected)))
    assert actual.dtype == "float32"
    # What is close to zero, at the end of a cycle, is so to a share of itself.
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-7)


@every_case
def test_is_saved_with_an_optimizer_and_read_by_the_step(name):
    schedule = CASES[name]
    optimizer = keras.optimizers.SGD(schedule)
    config = keras.saving.serialize_keras_object(optimizer)
    loaded = keras.saving.deserialize_keras_object(config)
    variable = keras.Variable(0.0)
    loaded.build([variable])
    for step in (0, 9):
        loaded.iterations.assign(step)
        variable.assign(0.0)
        loaded.apply([keras.ops.convert_to_tensor(-1.0)])
        assert float(variable) == pytest.approx(ORACLE[name][step], rel=1e-4, abs=1e-7)
    for copied in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert copied.get_config() == schedule.get_config()


@pytest.mark.thorough(MATRIX)
def test_all_compile():
    """With XLA, one of each kind, at a step of the type that counters have."""
    one_each = list({type(s): s for s in CASES.values()}.values())
    compiled = tf.function(lambda step: [s(step) for s in one_each], jit_compile=True)
    actual = compiled(tf.constant(11, "int64"))
    expected = [float(schedule(11)) for schedule in one_each]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


@every_case
def test_stays_finite_and_positive_for_ever(name):
    rates = np.asarray(CASES[name](np.array([10**6, 10**9, 2**31 - 1])))
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()


def test_accumulated_batches_are_one_update():
    """Two batches make an update: the schedule goes on by one."""
    warmup = Warmup(1.0, 4)
    pipeline = kx.optimizers.GradientPipeline(
        keras.optimizers.SGD(warmup), accumulation_steps=2
    )
    variable = keras.Variable(0.0)
    moves = []
    for _ in range(10):
        before = float(variable)
        pipeline.apply([keras.ops.convert_to_tensor(-1.0)], [variable])
        moves.append(float(variable) - before)
    np.testing.assert_allclose(moves, [0, 0, 0, 0.25, 0, 0.5, 0, 0.75, 0, 1], atol=1e-6)
