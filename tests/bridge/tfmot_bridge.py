"""The bridge to tensorflow-model-optimization, in an environment that has it.

Not part of the default run, since installing tfmot takes other packages back to older
versions: `.ci/run` makes an environment of its own.

Run: `pip install -e ".[test,tfmot]" && pytest tests/bridge/tfmot_bridge.py`
"""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras  # noqa: TID251

from keras_ext.compression import (
    LiteRTFile,
    from_tf_keras,
    run_tfmot,
    to_tf_keras,
)
from tests.bridge.tfmot_models import MODELS, image, inputs_for, rows

L = keras.layers


def difference(model, other, x):
    pairs = zip(
        keras.tree.flatten(model(x, training=False)),
        keras.tree.flatten(other(x, training=False)),
        strict=True,
    )
    return max(float(np.max(np.abs(np.array(a) - np.array(b)))) for a, b in pairs)


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_is_the_same_there_and_comes_back(kind):
    keras.utils.set_random_seed(0)
    model = MODELS[kind]()
    for v in model.weights:
        # Biases and statistics begin with zeros and ones, which would hide mistakes.
        noise = np.random.default_rng(0).normal(size=v.shape) * 0.1
        v.assign(np.abs(keras.ops.convert_to_numpy(v) + noise))
    x = inputs_for(model)
    other = to_tf_keras(model)
    assert difference(model, other, x) <= 1e-6 * max(1.0, _largest(model, x))
    if not other.trainable_weights:
        return
    other.set_weights([w * 0.5 for w in other.get_weights()])
    before = difference(model, other, x)
    from_tf_keras(other, model)
    assert difference(model, other, x) <= 1e-6 * max(1.0, _largest(model, x))
    if kind not in ("Softmax", "UnitNormalization"):
        assert before > 0


def _largest(model, x):
    outputs = keras.tree.flatten(model(x, training=False))
    return max(float(np.max(np.abs(y))) for y in outputs)


def test_dropout_is_still_active_there():
    model = rows(L.Dropout(0.5, name="drop"))
    x = np.ones((4, 6), "float32")
    found = to_tf_keras(keras.Model(model.inputs[0], model.outputs[0]))(
        x, training=True
    )
    assert (np.array(found) == 0).any()


def test_regularizers_and_what_is_frozen_come_along():
    model = MODELS["regularized"]()
    other = to_tf_keras(model)
    assert len(other.losses) == 2
    np.testing.assert_allclose(
        sum(map(float, other.losses)), sum(map(float, model.losses)), rtol=1e-5
    )
    frozen = to_tf_keras(MODELS["frozen"]())
    assert [layer.trainable for layer in frozen.layers] == [True, False, True, True]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: rows(L.RMSNormalization()),
            "without RMSNormalization, which",
        ),
        (
            lambda: image(L.Resizing(5, 6, pad_to_aspect_ratio=True)),
            "without pad_to_aspect_ratio=True, which tf_keras does not have",
        ),
        (lambda: image(L.AdaptiveAveragePooling2D(2)), "AdaptiveAveragePooling2D"),
    ],
)
def test_what_tf_keras_does_not_have_is_refused_by_name(model, message):
    with pytest.raises(ValueError, match=message):
        to_tf_keras(model())


def is_as_it_was():
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert tf.keras.Model is keras.Model  # noqa: TID251
    model = rows(L.Dense(2))
    model.compile("sgd", "mse")
    history = model.fit(np.ones((4, 6)), np.ones((4, 2)), verbose=0)
    assert np.isfinite(history.history["loss"][0])


FRESH = """
import os, sys
before = dict(os.environ)
import keras_ext
assert dict(os.environ) == before
print({"tf_keras", "tensorflow_model_optimization"} & set(sys.modules))
"""


def test_a_fresh_process_imports_nothing_of_it():
    found = subprocess.run(
        [sys.executable, "-c", FRESH], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"


def trained_and_clustered(model, tfmot, x, y):
    clustering = tfmot.clustering.keras
    options = {"number_of_clusters": 4, "cluster_centroids_init": None}
    options["cluster_centroids_init"] = clustering.CentroidInitialization.LINEAR
    model = clustering.cluster_weights(model, **options)
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    return clustering.strip_clustering(model)


def quantized(model, tfmot, x, y):
    model = tfmot.quantization.keras.quantize_model(model)
    model.compile(tf_keras.optimizers.Adam(1e-3), "mse")
    model.fit(x, y, epochs=3, verbose=0)
    return model


def broken(model, tfmot, x, y):
    raise ZeroDivisionError("of this recipe")


def test_tfmot_works_in_a_process_of_its_own(tmp_path):
    model = rows(L.Dense(8, "relu", name="hidden"), L.Dense(2, name="last"))
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    small = run_tfmot(model, trained_and_clustered, x=x, y=x[:, :2])
    kernels = [np.array(layer.kernel) for layer in small.layers]
    assert [len(np.unique(kernel)) for kernel in kernels] == [4, 4]
    is_as_it_was()
    path = tmp_path / "m.tflite"
    aware = run_tfmot(model, quantized, x=x, y=x[:, :2], path=path)
    file = LiteRTFile(path)
    assert file.num_int8_tensors > 4
    spread = float(np.ptp(np.array(aware(x))))
    assert np.max(np.abs(file.predict(x) - aware(x))) < 0.05 * spread
    is_as_it_was()
    with pytest.raises(RuntimeError, match="ZeroDivisionError: of this recipe"):
        run_tfmot(model, broken)
    is_as_it_was()
