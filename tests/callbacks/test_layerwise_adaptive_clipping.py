import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import LayerwiseAdaptiveClipping


def make_model(optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            keras.layers.Conv2DTranspose(4, 3, name="transposed"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, name="head"),
        ]
    )
    model.compile(optimizer, "mse")
    return model


X = np.random.default_rng(0).normal(size=(32, 8, 8, 2)).astype("float32")
Y = 100 * np.random.default_rng(1).normal(size=(32, 3)).astype("float32")


def test_is_the_transform_in_compile():
    """The callback finds the axes of each layer itself."""
    results = []
    for by_callback in (True, False):
        model = make_model(keras.optimizers.SGD(1.0))
        callbacks = [LayerwiseAdaptiveClipping(0.02, exclude="head")]
        if not by_callback:
            pipeline = kx.optimizers.GradientPipeline(
                keras.optimizers.SGD(1.0),
                [kx.gradients.AdaptiveClip(0.02, exclude="head")],
                unit_axes=kx.core.unit_axes(model),
            )
            model.compile(pipeline, "mse")
            callbacks = []
        model.fit(X, Y, 8, shuffle=False, callbacks=callbacks, verbose=0)
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_keeps_a_diverging_training_together():
    final = {}
    for name, callbacks in (("plain", []), ("clipped", [LayerwiseAdaptiveClipping()])):
        model = make_model(keras.optimizers.SGD(1.0))
        history = model.fit(X, Y, 8, epochs=5, callbacks=callbacks, verbose=0)
        final[name] = history.history["loss"][-1]
    assert not final["plain"] < 1e6
    assert final["clipped"] < 2e4


@pytest.mark.parametrize(("clipping", "expected"), [(0.0, 1.0), (1e9, 0.0)])
def test_logs_the_fraction_of_units_that_it_clips(clipping, expected):
    model = make_model(keras.optimizers.SGD(1e-6))
    callback = LayerwiseAdaptiveClipping(clipping)
    history = model.fit(X, Y, 8, callbacks=[callback], verbose=0).history
    assert history["clipped_fraction"] == [expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clipping": -1}, r"`clipping` must be a number >= 0\. Received: clipping=-1"),
        ({"clipping": "small"}, r"Received: clipping='small'"),
        ({"epsilon": 0}, r"`epsilon` must be a number > 0\. Received: epsilon=0"),
        ({"exclude": 3}, r"`exclude` must be a regular expression, a list of them"),
        ({"include": "("}, r"`include` must be a regular expression.*fails"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LayerwiseAdaptiveClipping(**arguments)
