"""The gradient of an output, averaged over noise in the inputs."""

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._checks import integer, number
from keras_ext._core._typing import Data, OutputChoice, Tensor
from keras_ext.explain._leaves import Leaves
from keras_ext.explain._problem import gathered
from keras_ext.explain.maps._question import Map, Question


def smooth_grad(
    model: keras.Model,
    x: Data,
    *,
    outputs: OutputChoice = "top",
    noise: float = 0.15,
    num_samples: int = 50,
    batch_size: int | str = "auto",
    jit: bool = False,
    seed: int = 0,
) -> Map:
    """Maps the mean gradient of an output over noisy copies of each row.

    The gradient of a deep network jumps from one point to the next; the mean is calmer
    and easier to look at. The sign is kept: take the absolute value for a picture.
    Tokens get their noise in their embeddings.

    Args:
        model: A built model of any kind; it is called in inference mode.
        x: The rows, as the model takes them: an array, or a list, tuple or dictionary
            of arrays, or a DataFrame.
        outputs: Which outputs, as for `Explainer`; `"top"` is that of the row without
            noise. Defaults to `"top"`.
        noise: Non-negative number; the standard deviation of the noise, as a fraction
            of the range of the row, its maximum less its minimum. Defaults to `0.15`.
        num_samples: Integer >= 1, the number of copies. Defaults to `50`.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether to compile with XLA. Defaults to `False`.
        seed: Integer >= 0. The same seed gives the same map, whatever rows are
            explained together. Defaults to `0`.

    Returns:
        Array of the shape of `x`; for several inputs a dictionary of such, by name. If
        there are several outputs, they have an axis of their own, the last.

    Raises:
        ValueError: If an argument is not of this form, or there is no gradient.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[1.0], [-2.0], [0.0]]), np.zeros(1)])
        >>> print(kx.explain.maps.smooth_grad(model, np.ones((1, 3))).round(6))
        [[ 1. -2.  0.]]

    References:
        - [Smilkov et al., 2017](https://arxiv.org/abs/1706.03825)
    """
    noise = number(noise, "noise", low=0)
    num_samples = integer(num_samples, "num_samples", low=1)
    seed = integer(seed, "seed", low=0)
    question = Question(model, x, outputs, batch_size, jit)
    leaves = Leaves(question.function, question.parts)
    first = leaves(gathered([part[:1] for part in question.parts]))
    sizes = [int(np.prod(leaf.shape[1:])) for leaf in first]

    def compute(parts: list[Tensor], which: Tensor, unit_noise: list[Tensor]) -> Tensor:
        samples = tf.shape(unit_noise[0])[0]
        noisy = [
            _noisy(leaf, unit, noise)
            for leaf, unit in zip(leaves(parts), unit_noise, strict=True)
        ]
        own = [tf.repeat(part, samples, axis=0) for part in parts]
        _, gradients = leaves.gradients(noisy, own, tf.repeat(which, samples, axis=0))
        found = tf.stack([leaves.elements(row) for row in gradients], axis=-1)
        shape = (-1, samples, *found.shape[1:])
        return tf.reduce_sum(tf.reshape(found, shape), axis=1)

    specs = [tf.TensorSpec((None, size), tf.float32) for size in sizes]
    compiled = question.compiled(compute, specs)
    # One after the other from one stream each, so that chunks change nothing.
    rngs = [np.random.default_rng([int(seed), i]) for i in range(len(sizes))]
    at_once = int(np.clip(question.batch_size // (3 * question.num_rows), 1, 2**10))
    total = np.zeros(())
    for begin in range(0, num_samples, at_once):
        count = min(at_once, num_samples - begin)
        drawn = [
            tf.constant(rng.standard_normal((count, size), "float32"))
            for rng, size in zip(rngs, sizes, strict=True)
        ]
        total = total + question.mapped(compiled, drawn, copies=3 * count)
    return question.shaped(total / num_samples)


def _noisy(leaf: Tensor, unit: Tensor, noise: float) -> Tensor:
    """Copies of each row, `(rows * samples, ...)`, with noise by its range."""
    flat = tf.cast(tf.reshape(leaf, (tf.shape(leaf)[0], 1, unit.shape[1])), tf.float32)
    lowest, highest = (
        reduce(flat, axis=2, keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max)
    )
    mixed = flat + noise * (highest - lowest) * unit
    return tf.cast(tf.reshape(mixed, (-1, *leaf.shape[1:])), leaf.dtype)
