import keras
import numpy as np
import pytest
from sklearn.cluster import KMeans

from keras_ext.compression import cluster, prune
from keras_ext.compression._cluster import _Means


def make_model(values=None):
    dense = keras.layers.Dense(16, name="dense")
    model = keras.Sequential([keras.Input((32,)), dense])
    if values is None:
        values = np.random.default_rng(0).normal(size=(32, 16))
    dense.kernel.assign(values)
    return model


def kernel(model):
    return np.array(model.layers[0].kernel)


def test_from_linear_centers_it_is_the_k_means_of_scikit_learn():
    model = make_model()
    before = kernel(model).reshape(-1, 1).astype("float64")
    cluster(model, 8, init="linear")
    centers = np.linspace(before.min(), before.max(), 8).reshape(-1, 1)
    means = KMeans(8, init=centers, n_init=1, max_iter=100, tol=0).fit(before)
    expected = means.cluster_centers_[means.labels_].reshape(32, 16)
    np.testing.assert_allclose(kernel(model), expected, atol=1e-6)


@pytest.mark.parametrize("init", ["kmeans++", "density"])
def test_other_begins_come_out_about_as_close(init):
    model, linear = make_model(), make_model()
    original = kernel(model)
    report = cluster(model, 8, init=init, seed=1)
    cluster(linear, 8, init="linear")
    assert [row.values for row in report.rows] == [8]
    errors = [np.square(kernel(m) - original).mean() for m in (model, linear)]
    assert errors[0] == pytest.approx(errors[1], rel=0.2)
    assert errors[0] < 0.05  # of a variance of 1


def test_zeros_are_one_of_the_values():
    model = make_model()
    prune(model, 0.75)
    zeros = kernel(model) == 0
    report = cluster(model, 4, preserve_sparsity=True)
    np.testing.assert_array_equal(kernel(model) == 0, zeros)
    assert report.rows[0].values == 4
    # Otherwise they come into some cluster.
    prune(again := make_model(), 0.25)
    assert cluster(again, 4).rows[0].zeros == 0


def test_few_values_are_left_alone():
    values = np.resize([0.5, -1.0, 0.0], (32, 16))
    model = make_model(values)
    report = cluster(model, 4)
    np.testing.assert_array_equal(kernel(model), np.float32(values))
    assert report.rows[0].values == 3


@pytest.mark.parametrize("init", ["linear", "density", "kmeans++"])
def test_a_value_that_is_frequent_takes_no_center_from_others(init):
    values = np.r_[np.zeros(80), np.arange(1.0, 21.0)]
    centers = _Means(5, init, np.random.default_rng(0)).of(values, 5)
    assert len(centers) == 5
    assert (np.diff(centers) > 0).all()


def test_rejects_one_cluster():
    with pytest.raises(ValueError, match=r"`k` must be an integer in \[2, 256\]"):
        cluster(make_model(), 1)
