import keras
import numpy as np
import pytest

from keras_ext.compression import ConstantSparsity
from keras_ext.compression._pruned_weights import candidates
from tests.compression.test_prune import prune


def test_nested_and_subclassed_models_and_what_is_skipped():
    class Custom(keras.Model):
        def __init__(self):
            super().__init__(name="custom")
            layers = keras.layers
            inner = [keras.Input((4, 4, 2)), layers.Conv2D(4, 3, name="conv")]
            self.body = keras.Sequential(
                [*inner, layers.DepthwiseConv2D(2, name="deep")], name="body"
            )
            self.frozen = layers.Dense(4, name="frozen", trainable=False)
            self.head = layers.Dense(1, name="head")

        def call(self, x):
            return self.head(self.frozen(keras.ops.mean(self.body(x), (1, 2))))

    model = Custom()
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
    model(x)
    model.compile("sgd", "mse")
    schedule = ConstantSparsity(0.5, begin_step=1, frequency=1)
    callback = prune(schedule, m_by_n=(2, 4))
    model.fit(x, x[:, 0, 0, :1], epochs=2, callbacks=[callback], verbose=0)
    assert callback.report.skipped == {
        "body/conv/kernel": "its 2 inputs are no multiple of 4",
        "body/deep/kernel": "it is depthwise, with few entries for each channel",
        "frozen/kernel": "it is not trainable",
    }
    assert callback.report.sparsity == 0.5


def test_kernels_of_all_kinds_are_meant_and_others_on_request():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(9, 4, name="words"),
            layers.Bidirectional(layers.GRU(2, return_sequences=True), name="both"),
            layers.SeparableConv1D(4, 3, name="separable"),
            layers.PReLU(name="slopes"),
        ]
    )
    verdicts = {c.path: c.reason for c in candidates(model, None, None, _fine)}
    meant = [path for path, reason in verdicts.items() if reason is None]
    assert [path.rpartition("/")[2] for path in meant] == [
        "embeddings",
        "kernel",
        "recurrent_kernel",
        "kernel",
        "recurrent_kernel",
        "pointwise_kernel",
    ]
    assert "no kernel by its name" in verdicts["slopes/alpha"]
    chosen = candidates(model, "slopes", None, _fine)
    assert [c.path for c in chosen if c.reason is None] == ["slopes/alpha"]


def _fine(variable):
    return None


def test_a_model_without_weights_yet_is_refused():
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=r"`model` must be a built model\. Received"):
        candidates(model, None, None, _fine)
