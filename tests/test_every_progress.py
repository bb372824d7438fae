"""What may take longer than two seconds says how far it is, up to the end."""

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext._core._progress import Progress
from tests.thorough import LONG

X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")


def model():
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ]
    )


def explained():
    explainer = kx.explain.Explainer(model(), X[:2])
    return explainer(X[:3]), explainer


def to_litert(tmp_path):
    path = tmp_path / "model.tflite"
    kx.compression.to_litert(model(), path, mode="int8", representative_data=X)


def recalibrate(_):
    layers = [keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    norms = keras.Sequential([keras.Input((4,)), *layers])
    norms.compile("sgd", "mse")
    callback = kx.callbacks.RecalibrateBatchNorm((X, X[:, :1]))
    norms.fit(X, X[:, :1], callbacks=[callback], verbose=2)


LARGE = np.ones((5, 4), "float32")
LONG_ONES = {
    "cluster": lambda _: kx.compression.cluster(model(), 4),
    "Explainer": lambda _: explained(),
    "infidelity": lambda _: kx.explain.metrics.infidelity(*explained(), x=X[:3]),
    "infidelity of numbers": lambda _: kx.explain.metrics.infidelity(
        *explained(), x=X[:3], perturbations=LARGE
    ),
    "low_rank": lambda _: kx.compression.low_rank(model()),
    "mc_predict": lambda _: kx.uncertainty.mc_predict(model(), X, num_samples=2),
    "RecalibrateBatchNorm": recalibrate,
    "rise": lambda _: kx.explain.maps.rise(model(), X, num_masks=4),
    "size_report": lambda _: kx.compression.size_report(model(), x=X, repeats=3),
    "to_litert": to_litert,
}
SLOW = {"to_litert": [pytest.mark.thorough(LONG)]}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=SLOW.get(name, [])) for name in LONG_ONES]
)
def test_tells_how_far_it_is(name, monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(Progress, "__call__", lambda _, *counts: told.append(counts))
    LONG_ONES[name](tmp_path)
    assert told
    done, total = told[-1]
    assert done == total > 0
