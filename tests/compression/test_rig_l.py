import keras
import numpy as np
import pytest

from keras_ext.compression import RigL
from keras_ext.compression._rig_l import densities, moved
from tests.compression.test_prune import fit, kernels, make_model
from tests.thorough import LONG, MATRIX


def rig_l(**kwargs):
    options = {"end_step": 36, "frequency": 4, "fraction": 0.5, "verbose": 0}
    return RigL(0.5, **{**options, **kwargs})


def test_a_move_by_hand():
    weight = np.float32([[3.0, -0.1, 0.0], [0.2, 0.0, 0.0]])
    mask = np.array([[True, True, False], [True, False, False]])
    gradient = np.float32([[9.0, 0.5, 0.1], [0.0, 0.7, 0.6]])
    # One of three: -0.1 goes, and 0.7 is the largest gradient of what is not kept.
    expected = [[True, False, False], [True, True, False]]
    np.testing.assert_array_equal(moved(weight, mask, gradient, 0.34), expected)
    # What was dropped may grow again.
    gradient[0, 1] = 0.8
    np.testing.assert_array_equal(moved(weight, mask, gradient, 0.34), mask)
    np.testing.assert_array_equal(moved(weight, mask, gradient, 0.0), mask)


def test_densities_follow_the_sums_of_axes_and_add_up():
    shapes = [(3, 3, 4, 8), (100, 50), (4, 2)]
    found = densities(shapes, 0.1, "erdos_renyi")
    sizes = np.array([288, 5000, 8])
    assert np.dot(found, sizes) == pytest.approx(0.1 * sizes.sum())
    assert found[2] == 1.0
    assert found[0] / found[1] == pytest.approx((18 / 288) / (150 / 5000))
    assert densities(shapes, 0.1, "uniform") == [0.1] * 3


class Masks(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.found = []

    def on_train_batch_begin(self, batch, logs=None):
        self.found.append([kernel != 0 for kernel in kernels(self.model)])


@pytest.mark.thorough(LONG)
def test_connections_move_when_it_is_due_and_stay_as_many():
    model, masks, callback = make_model(), Masks(), rig_l()
    history = fit(model, callback, masks)
    first = np.array([m[0] for m in masks.found])
    # The one step after a move in which what has grown is still zero is left out.
    settled = [t for t in range(45) if t % 4 != 3 or t > 35]
    counts = first[settled].reshape(len(settled), -1).sum(1)
    assert len(set(counts.tolist())) == 1
    changed = [t for t in range(1, 45) if (first[t] != first[t - 1]).any()]
    # Before steps 4, 8, ... what is dropped is gone; one later the grown ones are seen.
    assert set(changed) <= {t for t in range(45) if t % 4 in (3, 0)}
    assert changed[:2] == [3, 4]
    assert max(changed) <= 36
    assert history.history["sparsity"][-1] == pytest.approx(0.5, abs=0.02)
    assert callback.report.sparsity == pytest.approx(0.5, abs=0.02)
    assert model.layers[0].kernel.constraint is None


@pytest.mark.thorough(MATRIX)
@pytest.mark.parametrize("way", ["XLA", "eager", "replicas"])
def test_it_is_the_same_in_each_way_to_run(way, strategies):
    plain = make_model()
    fit(plain, rig_l())
    with strategies(2 if way == "replicas" else 1).scope():
        options = {"jit_compile": way == "XLA", "run_eagerly": way == "eager"}
        model = make_model(**options)
    fit(model, rig_l())
    for weight, expected in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-4)


@pytest.mark.thorough(LONG)
def test_a_second_fit_goes_on_with_the_connections():
    model = make_model(run_eagerly=True)
    fit(model, rig_l(end_step=8), epochs=2)
    before = [kernel != 0 for kernel in kernels(model)]
    fit(model, rig_l(seed=9, end_step=8), epochs=1)
    for kernel, mask in zip(kernels(model), before, strict=True):
        np.testing.assert_array_equal(kernel != 0, mask)


def test_rejects_an_end_after_the_training():
    with pytest.raises(ValueError, match=r"`end_step` must be at most 5, the updates"):
        fit(make_model(), rig_l(), epochs=1)
