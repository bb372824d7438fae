import keras
import numpy as np
import pytest

from keras_ext.compression import SoftTargets

layers = keras.layers


def shares(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def divergence(p, q):
    return np.mean(np.sum(p * np.log(p / q), axis=-1))


RNG = np.random.default_rng(0)
TEACHER, STUDENT = RNG.normal(size=(2, 6, 5)) * 3


def model(activation):
    return keras.Sequential([keras.Input((5,)), layers.Dense(5, activation=activation)])


@pytest.mark.parametrize("ends", ["linear linear", "softmax softmax", "softmax linear"])
def test_is_the_divergence_at_a_temperature_however_models_end(ends):
    loss = SoftTargets(3.0)
    first, second = ends.split()
    loss.validate_model_compatibility(model(first), model(second))
    given = [
        shares(z) if end == "softmax" else z
        for z, end in zip((TEACHER, STUDENT), (first, second), strict=True)
    ]
    expected = 9 * divergence(shares(TEACHER / 3), shares(STUDENT / 3))
    found = loss.compute_loss(*(g.astype("float32") for g in given))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_several_outputs_are_summed_and_a_sigmoid_is_two_classes():
    inputs = keras.Input((5,))
    ends = [layers.Dense(1, activation="sigmoid")(inputs), layers.Dense(5)(inputs)]
    both = keras.Model(inputs, ends)
    loss = SoftTargets(1.0)
    loss.validate_model_compatibility(both, both)
    p, q = np.array([[0.9], [0.2]]), np.array([[0.6], [0.3]])
    found = loss.compute_loss([p, TEACHER[:2]], [q, STUDENT[:2]])
    two = [np.concatenate([1 - s, s], axis=1) for s in (p, q)]
    expected = divergence(*two)
    expected += divergence(shares(TEACHER[:2]), shares(STUDENT[:2]))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_temperature_follows_a_schedule_of_updates_and_is_saved():
    falling = keras.optimizers.schedules.PolynomialDecay(5.0, 10, 1.0)
    loss = SoftTargets(falling, from_logits=True)
    loss = SoftTargets.from_config(loss.get_config())
    for step, t in ((0, 5.0), (5, 3.0), (20, 1.0)):
        loss.see_batch(None, keras.ops.convert_to_tensor(step))
        found = loss.compute_loss(TEACHER.astype("f4"), STUDENT.astype("f4"))
        expected = t**2 * divergence(shares(TEACHER / t), shares(STUDENT / t))
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert loss.get_config()["from_logits"] is True


def test_rejects_a_temperature_of_zero():
    with pytest.raises(ValueError, match="`temperature` must be a number > 0"):
        SoftTargets(0)
