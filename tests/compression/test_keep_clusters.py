import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.compression import KeepClusters, cluster, prune, quantize_aware
from tests.compression.test_prune import TRAINING, fit, kernels, make_model
from tests.thorough import LONG, MATRIX, thorough_but


def clustered(model):
    prune(model, 0.25)
    cluster(model, 4, preserve_sparsity=True, init="linear")
    return model


def test_an_update_moves_each_cluster_by_the_mean_of_its_entries():
    """As if each cluster were one weight whose gradient is the mean of theirs."""
    model = clustered(make_model(keras.optimizers.SGD(0.1)))
    before = kernels(model)
    gradients = gradients_of(model)
    fit(model, KeepClusters(), epochs=1, batch_size=60)
    for kernel, old, gradient in zip(kernels(model), before, gradients, strict=True):
        for value in np.unique(old):
            members = old == value
            moved = value - 0.1 * gradient[members].mean() if value else 0.0
            np.testing.assert_allclose(kernel[members], moved, atol=1e-5)


def gradients_of(model):
    """Those of the kernels, of the mean squared error."""
    with tf.GradientTape() as tape:
        error = model(TRAINING["x"]) - TRAINING["y"]
        loss = keras.ops.mean(keras.ops.square(error))
    variables = [layer.kernel.value for layer in model.layers]
    return [np.array(g) for g in tape.gradient(loss, variables)]


@pytest.mark.parametrize(
    "way", thorough_but(["XLA"], ["XLA", "replicas", "mixed", "averages"])
)
@pytest.mark.thorough(LONG)
def test_values_stay_few_in_each_way_to_run(way, strategies):
    optimizer = {"use_ema": True} if way == "averages" else {}
    with strategies(2 if way == "replicas" else 1).scope():
        if way == "mixed":
            keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            adam = keras.optimizers.Adam(0.01, **optimizer)
            model = clustered(make_model(adam, jit_compile=way == "XLA"))
        finally:
            keras.config.set_dtype_policy("float32")
    before = kernels(model)
    keep = KeepClusters()
    fit(model, keep, epochs=2)
    for kernel, old in zip(kernels(model), before, strict=True):
        assert len(np.unique(kernel)) == 4
        np.testing.assert_array_equal(kernel == 0, old == 0)
        assert (kernel[old != 0] != old[old != 0]).all()
    assert [row.values for row in keep.report.rows] == [4, 4]
    assert model.layers[0].kernel.constraint is None


def test_own_constraints_come_first():
    model = clustered(make_model())
    kernel = model.layers[0].kernel
    own = kernel.constraint = keras.constraints.MaxNorm(0.5, axis=None)
    model.run_eagerly = True
    fit(model, KeepClusters(), epochs=1)
    assert np.linalg.norm(kernel) <= 0.5 + 1e-5
    assert len(np.unique(kernel)) == 4
    assert kernel.constraint is own


@pytest.mark.thorough(MATRIX)
def test_what_others_write_is_brought_together():
    class Noise(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            rng = np.random.default_rng(0)
            for layer in self.model.layers:
                layer.kernel.assign(rng.normal(size=layer.kernel.shape))

    model = clustered(make_model())
    fit(model, KeepClusters(), Noise(), epochs=1)
    assert [len(np.unique(kernel)) for kernel in kernels(model)] == [4, 4]


def test_weights_with_many_values_are_skipped_with_the_reason():
    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(20, name="many"),
            keras.layers.Dense(2, name="few"),
        ]
    )
    model.compile("sgd", "mse")
    keep = KeepClusters()
    x = np.ones((4, 20), "float32")
    model.fit(x, x[:, :2], callbacks=[keep], verbose=0)
    assert keep.report.skipped == {"many/kernel": "it has 400 different values"}


@pytest.mark.thorough(LONG)
def test_clusters_stay_in_a_model_that_is_made_aware_of_quantization():
    model = clustered(make_model())
    aware = quantize_aware(model)
    aware.compile("sgd", "mse", run_eagerly=True)
    fit(aware, KeepClusters(), epochs=1)
    for name, kernel in zip(("hidden", "head"), kernels(model), strict=True):
        layer = aware.get_layer(name)
        rounded = np.array(layer.kernel)
        assert len(np.unique(rounded)) <= 4
        np.testing.assert_array_equal(rounded[kernel == 0], 0)
