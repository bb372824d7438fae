import keras
import numpy as np
import pytest

from keras_ext.compression import DecoupledDistillation

RNG = np.random.default_rng(0)
TEACHER, STUDENT = RNG.normal(size=(2, 6, 5)) * 2
LABELS = RNG.integers(0, 5, 6)


def shares(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def divergence(p, q):
    return np.sum(p * np.log(p / q), axis=-1)


def parts(t):
    """That of the right class, and that among the others, by shares left out."""
    p, q = shares(TEACHER / t), shares(STUDENT / t)
    rows = np.arange(6)
    right = [np.stack([s[rows, LABELS], 1 - s[rows, LABELS]], 1) for s in (p, q)]
    keep = np.arange(5) != LABELS[:, None]
    others = [s[keep].reshape(6, 4) for s in (p, q)]
    others = [s / s.sum(axis=1, keepdims=True) for s in others]
    return divergence(*right), divergence(*others), p[rows, LABELS]


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(5)[LABELS]])
def test_weighs_both_parts(labels):
    loss = DecoupledDistillation(2.0, alpha=0.5, beta=3.0, from_logits=True)
    loss = DecoupledDistillation.from_config(loss.get_config())
    loss.see_batch(labels, 0)
    found = loss.compute_loss(TEACHER.astype("f4"), STUDENT.astype("f4"))
    right, others, _ = parts(2.0)
    expected = 4 * (0.5 * right.mean() + 3.0 * others.mean())
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_both_parts_make_the_whole_divergence():
    """With what the teacher leaves to the others as their weight, in each row."""
    right, others, known = parts(1.0)
    whole = divergence(shares(TEACHER), shares(STUDENT))
    np.testing.assert_allclose(right + (1 - known) * others, whole, rtol=1e-10)
    for i in range(6):
        beta = float(1 - known[i])
        loss = DecoupledDistillation(1.0, beta=beta, from_logits=True)
        loss.see_batch(LABELS[i : i + 1], 0)
        rows = (z[i : i + 1].astype("f4") for z in (TEACHER, STUDENT))
        np.testing.assert_allclose(loss.compute_loss(*rows), whole[i], rtol=1e-4)


def test_rejects_what_has_no_labels():
    loss = DecoupledDistillation(from_logits=True)
    with pytest.raises(ValueError, match="`y` must be given for this loss"):
        loss.compute_loss(TEACHER, STUDENT)
    outputs = keras.Input((2,))
    model = keras.Model(outputs, [outputs, outputs])
    with pytest.raises(ValueError, match="a model with one output"):
        loss.validate_model_compatibility(model, model)
