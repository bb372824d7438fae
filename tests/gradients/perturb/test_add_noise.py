"""Gradient noise against the distribution and the schedule that it should have."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from keras_ext.gradients import AddNoise
from keras_ext.optimizers import GradientPipeline
from tests.thorough import thorough_but


def noise(transform, size=2000, updates=1, names=("a",), **function_options):
    """The noise of each update, in a row for each weight."""
    variables = [
        keras.Variable(np.zeros(size), dtype="float32", name=name) for name in names
    ]
    transform.build(variables, {})

    @tf.function(autograph=False, **function_options)
    def step():
        return transform([tf.zeros(size) for _ in variables], variables)

    return np.stack([np.stack(step()) for _ in range(updates)], axis=1)


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
def test_is_normal_with_the_variance_of_the_paper(jit_compile):
    (rows,) = noise(
        AddNoise(0.3, decay=0.55, seed=1), 5000, 40, jit_compile=jit_compile
    )
    for t, row in enumerate(rows):
        deviation = np.sqrt(0.3 / (1 + t) ** 0.55)
        assert stats.kstest(row / deviation, "norm").pvalue > 1e-3 / len(rows)
    # And all updates together, by the sum of their squares.
    variances = 0.3 / np.arange(1, 41) ** 0.55
    total = np.sum(rows.astype("float64") ** 2 / variances[:, None])
    low, high = stats.chi2(rows.size).interval(0.999)
    assert low < total < high


def test_updates_weights_and_numbers_are_independent():
    one, two = noise(AddNoise(1.0, decay=0.0, seed=1), 4000, 2, names=("a", "b"))
    rows = [*one, *two, one[0][::-1]]
    for i, a in enumerate(rows):
        for b in rows[:i]:
            assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))
        assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 5 / np.sqrt(len(a))
        # Of the two halves, one is made with the sine and one with the cosine.
        assert abs(np.corrcoef(a[:2000], a[2000:])[0, 1]) < 5 / np.sqrt(2000)


def test_the_seed_says_what_the_noise_is():
    first, again, other = (noise(AddNoise(seed=s), updates=3) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.mean(first == other) < 1e-3


def test_without_a_seed_keras_chooses_it():
    keras.utils.set_random_seed(5)
    first, other = (noise(AddNoise()) for _ in range(2))
    keras.utils.set_random_seed(5)
    np.testing.assert_array_equal(noise(AddNoise()), first)
    assert (first != other).all()


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_odd_number_of_weights_gets_its_noise(size):
    (rows,) = noise(AddNoise(seed=1), size, 2)
    assert rows.shape == (2, size)
    assert np.unique(rows).size == rows.size


def test_a_model_without_a_seed_goes_on_with_the_same_noise(tmp_path):
    """The seed that was drawn is saved, and how many updates there were."""

    def train(model):
        optimizer, variables = model.optimizer, model.trainable_variables
        for _ in range(3):
            optimizer.apply([tf.zeros(v.shape) for v in variables], variables)
        return model.get_weights()

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(GradientPipeline(keras.optimizers.SGD(1.0), [AddNoise()]), "mse")
    train(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for a, e in zip(train(loaded), train(model), strict=True):
        np.testing.assert_array_equal(a, e)


def test_what_is_excluded_does_not_change_the_noise_of_the_rest():
    transforms = [AddNoise(seed=1), AddNoise(seed=1, exclude="a")]
    (_, b), (rest, alone) = (noise(t, names=("a", "b")) for t in transforms)
    np.testing.assert_array_equal(b, alone)
    np.testing.assert_array_equal(rest, 0.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_half_precision(dtype):
    variable = keras.Variable(np.zeros(500), dtype=dtype, name="w")
    transform = AddNoise(1.0, seed=1)
    transform.build([variable], {})
    (actual,) = transform([tf.zeros(500, dtype)], [variable])
    assert actual.dtype == dtype
    assert stats.kstest(np.float32(actual), "norm").pvalue > 1e-3


def test_the_scale_is_live():
    transform = AddNoise(1.0, seed=1)
    variable = keras.Variable(np.zeros(50), dtype="float32", name="w")
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    optimizer.build([variable])

    @tf.function(autograph=False)
    def step():
        optimizer.apply([tf.zeros(50)], [variable])

    step()
    moved = variable.numpy()
    assert moved.std() > 0.5
    transform.scale.assign(0.0)
    step()
    np.testing.assert_array_equal(variable.numpy(), moved)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": -1}, r"`scale` must be a number >= 0\. Received: scale=-1\."),
        ({"decay": -1}, r"`decay` must be a number >= 0\. Received: decay=-1\."),
        ({"seed": 2**31}, "`seed` must be an integer in"),
        ({"seed": 1.5}, r"`seed` must be an integer"),
        ({"seed": True}, r"`seed` must be an integer"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AddNoise(**arguments)
