"""Monte-Carlo prediction with dropout."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from keras_ext._anatomy._linked_method import Link, linked_calls
from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._checks import is_integer, require
from keras_ext._core._typing import Tensor
from keras_ext.layers.dropout._noise_layer import NoiseLayer

KINDS = ("values", "probabilities", "logits")
_TINY = 1e-30


class MonteCarloPrediction(NamedTuple):
    """What `mc_predict` returns, NumPy arrays.

    Attributes:
        mean: The mean over the samples, of probabilities if the outputs are such.
        variance: The variance over the samples.
        entropy: The entropy of the mean, in nats: all uncertainty. None for values.
        mutual_information: The part of it that is due to the model, and that more data
            would take away; the rest is noise in the data. None for values.
    """

    mean: Any
    variance: Any
    entropy: Any = None
    mutual_information: Any = None


def mc_predict(
    model: keras.Model,
    x: Any,
    *,
    samples: int = 50,
    batch_size: int = 32,
    outputs: str = "values",
) -> MonteCarloPrediction:
    """Predicts with dropout, many times, to know how sure a model is.

    Trained with dropout, a network approximates a distribution over networks
    (Monte-Carlo dropout). Every sample is a prediction with other masks; their mean is
    the prediction, their spread says how uncertain the model is. All samples of a batch
    are drawn within one compiled step, in the memory of one.

    Only what drops is active: `Dropout`, `SpatialDropout`, `GaussianDropout` and
    `AlphaDropout` of Keras, also in attention layers, dropout in `LSTM`, `GRU` and
    `SimpleRNN`, and the layers of `keras_ext.layers`. Everything else, such as batch
    normalization, stays in inference mode, and the model is left as it was, but for the
    state of its random numbers.

    Args:
        model: A built model with one output.
        x: Array, or list or dictionary of arrays, as for `predict`.
        samples: Positive integer, the number of predictions to draw for each example.
            Defaults to `50`.
        batch_size: Positive integer, how many examples are predicted at a time.
            Defaults to `32`.
        outputs: What the model puts out: `"values"`; `"probabilities"` of classes along
            the last axis, or of one class if that has one entry; or the `"logits"`
            of such. Defaults to `"values"`.

    Returns:
        A tuple of arrays, `mean`, `variance`, `entropy` and `mutual_information`; the
        last two, one number for each example, are None for `"values"`.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((2,)),
        ...         keras.layers.Dropout(0.5, seed=0),
        ...         keras.layers.Dense(1, kernel_initializer="ones"),
        ...     ]
        ... )
        >>> x = np.array([[1.0, 0.0], [3.0, 0.0]])
        >>> prediction = kx.uncertainty.mc_predict(model, x, num_samples=1000)
        >>> print(prediction.mean[:, 0].round(), prediction.variance[:, 0].round())
        [1. 3.] [1. 9.]

    References:
        - [Gal and Ghahramani, 2016](https://arxiv.org/abs/1506.02142)
        - [Gal, Islam and Ghahramani, 2017](https://arxiv.org/abs/1703.02910), mutual
          information
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    for name, value in (("samples", samples), ("batch_size", batch_size)):
        require(is_integer(value) and value > 0, name, value, "a positive integer")
    require(outputs in KINDS, "outputs", outputs, f"one of {KINDS}")
    batches = tf.data.Dataset.from_tensor_slices(x).batch(batch_size)
    with _dropping(model):
        step = tf.function(
            lambda batch: _statistics(model, batch, samples, outputs),
            reduce_retracing=True,
            jit_compile=getattr(model, "jit_compile", False) is True,
        )
        parts = [[np.asarray(part) for part in step(batch)] for batch in batches]
    return MonteCarloPrediction(*map(np.concatenate, zip(*parts, strict=True)))


def _statistics(model: Any, batch: Any, samples: int, kind: str) -> list[Tensor]:
    """Mean, variance and, for probabilities, both uncertainties of a batch."""

    def sample() -> Tensor:
        outputs = model(batch, training=False)
        require(
            ops.is_tensor(outputs), "model", model, "a model with one output, a tensor"
        )
        return _as_probabilities(ops.cast(outputs, "float32"), kind)

    def add(i: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Welford's way, since the mean of the squares may hide the variance.
        mean, squares, entropy = state
        drawn = sample()
        change = drawn - mean
        mean = mean + change / ops.cast(i + 1, "float32")
        squares = squares + change * (drawn - mean)
        return mean, squares, entropy + _entropy(drawn, kind)

    first = sample()
    start = (first, ops.zeros_like(first), _entropy(first, kind))
    mean, squares, entropy = ops.fori_loop(1, samples, add, start)
    found = [mean, squares / samples]
    if kind != "values":
        whole = _entropy(mean, kind)
        # Not below zero by rounding.
        found += [whole, ops.maximum(whole - entropy / samples, 0.0)]
    return found


def _as_probabilities(outputs: Tensor, kind: str) -> Tensor:
    if kind != "logits":
        return outputs
    return ops.sigmoid(outputs) if outputs.shape[-1] == 1 else ops.softmax(outputs)


def _entropy(p: Tensor, kind: str) -> Tensor:
    """Entropy along the last axis; something small for values."""
    if kind == "values":
        return ops.zeros(())
    if p.shape[-1] == 1:
        p = ops.concatenate([p, 1.0 - p], axis=-1)
    return -ops.sum(p * ops.log(ops.maximum(p, _TINY)), axis=-1)


def _dropping(model: keras.Model) -> AbstractContextManager[None]:
    """Makes the layers that drop do so in inference mode."""
    return linked_calls(filter(_drops, sublayers(model)), _noisily)


def _drops(layer: Any) -> bool:
    kinds = (layers.Dropout, layers.GaussianDropout, layers.AlphaDropout, NoiseLayer)
    if isinstance(layer, layers.RNN):
        return hasattr(layer.cell, "get_dropout_mask")
    return isinstance(layer, kinds)


def _noisily(layer: Any) -> Link:
    if isinstance(layer, NoiseLayer):
        return lambda _: lambda inputs, training=False: layer.sample(inputs)
    return lambda call: (
        lambda *args, **kwargs: call(*args, **{**kwargs, "training": True})
    )
