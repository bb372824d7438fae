"""How the validation loss changes with each hyperparameter, by one step of training."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._anatomy._kept_values import kept_values
from keras_ext._anatomy._trial import loss_of
from keras_ext._core._typing import Data, Function, Tensor
from keras_ext._keras._optimizer_slots import adam_preconditioner, decays
from keras_ext._keras._sparse_gradient import dense
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext._live._regularization_knobs import IN_THE_LOSS, RegularizationKnobs

# The gradient of the loss is linear in what is added to it: two values say all.
_FROM, _TO = 0.0, 0.5
# Rates are moved up and down by so much on their scale, so often.
_PERTURBATION = 0.4
_PAIRS = 4
_RANDOM = ("rate", "dropout", "recurrent_dropout", "stddev")


class SlopeProbe:
    """Measures derivatives of the validation loss after a step of training.

    A step takes `learning_rate * P * gradient` off the weights, `P` being the
    preconditioner of Adam, or 1, also when gradients are transformed before Adam sees
    them. So the derivative with respect to a hyperparameter is
    `-learning_rate` times that of `<P * validation gradient, training gradient>`.

    - The training gradient is linear in the strength of a penalty and in label
      smoothing: its difference between two values gives the derivative exactly.
    - Decoupled weight decay takes `learning_rate * strength * weight` off, without `P`.
    - The rates of what is random have no such form: all of them are moved up or down at
      once, by random signs, and back, with the same random numbers (antithetic SPSA),
      and the gradients in training mode are compared.

    It is the effect of one step, at the present weights.

    Args:
        train_data: What `FixedData` takes.
        validation_data: What `FixedData` takes.
        seed: The seed of the signs.
    """

    remembered: ClassVar[tuple[str, ...]] = ("_random",)

    def __init__(
        self, train_data: Data, validation_data: Data, seed: int | None
    ) -> None:
        self._validation = FixedData(validation_data)
        self._training = FixedData(train_data, self._validation.num_rows)
        self._random = np.random.default_rng(seed)
        self._traced: dict[bool, Function] = {}

    def measure(self, model: keras.Model, knobs: RegularizationKnobs) -> np.ndarray:
        """Returns the derivatives on the scales of the hyperparameters, an array."""
        values, offsets = knobs.values(), knobs.offsets
        try:
            with _left_as_they_are(model):
                slopes = self._slopes(model, knobs, values)
        finally:
            knobs.offsets = offsets
            knobs.assign(values)
        positions = knobs.positions
        for i, (path, live) in enumerate(knobs.live.items()):
            if knobs.kinds[path] not in _RANDOM:
                slopes[i] *= _slope_of_value(positions[i], live.scale)
        rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        return -rate * slopes

    def _slopes(
        self, model: keras.Model, knobs: RegularizationKnobs, values: dict[str, float]
    ) -> np.ndarray:
        knobs.take_out_of_the_loss()
        gradient = self._gradient(model)
        knobs.assign(values)
        direction = _preconditioned(model, gradient)
        slopes = np.zeros(len(values))
        for i, (path, live) in enumerate(knobs.live.items()):
            if knobs.kinds[path] in IN_THE_LOSS:
                low, high = (self._at(model, live, x, direction) for x in (_FROM, _TO))
                slopes[i] = (high - low) / (_TO - _FROM)
                live.assign(values[path])
            elif knobs.kinds[path] == "weight_decay":
                slopes[i] = _along_decay(model, gradient)
        return slopes + self._random_slopes(model, knobs, direction)

    def _at(
        self,
        model: keras.Model,
        live: HyperVariable,
        value: float,
        direction: Sequence[Tensor],
    ) -> float:
        live.assign(value)
        return self._along(model, direction, training=False)

    def _random_slopes(
        self,
        model: keras.Model,
        knobs: RegularizationKnobs,
        direction: Sequence[Tensor],
    ) -> np.ndarray:
        """The derivatives for rates, on their scales; 0 for the others."""
        random = np.array([kind in _RANDOM for kind in knobs.kinds.values()])
        slopes = np.zeros(len(random))
        if not random.any():
            return slopes
        places = knobs.positions
        for _ in range(_PAIRS):
            signs = self._random.choice([-1.0, 1.0], len(random)) * random
            with _left_as_they_are(model):
                _place(knobs, places + _PERTURBATION * signs, random)
                up = self._along(model, direction, training=True)
            # From here on with the random numbers of the other one.
            _place(knobs, places - _PERTURBATION * signs, random)
            down = self._along(model, direction, training=True)
            slopes += signs * (up - down) / (2 * _PERTURBATION * _PAIRS)
        return slopes

    def _gradient(self, model: keras.Model) -> list[Tensor]:
        """The gradient of the mean validation loss."""
        traced = self._traced_for(model, training=False)
        parts, rows = [], 0
        for batch in self._validation:
            size = _size(batch)
            parts.append([size * g for g in traced(*batch)])
            rows += size
        return [tf.add_n(g) / rows for g in zip(*parts, strict=True)]

    def _along(
        self, model: keras.Model, direction: Sequence[Tensor], training: bool
    ) -> float:
        """The scalar product of a direction and the gradient of training loss."""
        traced = self._traced_for(model, training)
        total, rows = 0.0, 0
        for batch in self._training:
            size = _size(batch)
            total += size * float(_dot(direction, traced(*batch)))
            rows += size
        return total / rows

    def _traced_for(self, model: keras.Model, training: bool) -> Function:
        if training not in self._traced:
            self._traced[training] = tf.function(
                _gradient_of(model, training), autograph=False, reduce_retracing=True
            )
        return self._traced[training]


def _gradient_of(
    model: keras.Model, training: bool
) -> Callable[[Data, Data, Data], list[Tensor]]:
    def gradient(x: Data, y: Data, sample_weight: Data) -> list[Tensor]:
        weights = [w.value for w in model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = loss_of(model, x, y, sample_weight, training)
        gradients = tape.gradient(
            loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [tf.cast(dense(g), tf.float32) for g in gradients]

    return gradient


def _left_as_they_are(model: keras.Model) -> AbstractContextManager[None]:
    """Gives moving statistics, random states and metrics their values back."""
    return kept_values([*model.non_trainable_variables, *model.metrics_variables])


def _preconditioned(model: keras.Model, gradient: Sequence[Tensor]) -> list[Tensor]:
    """The gradient, as far as the optimizer follows it."""
    factors = adam_preconditioner(model.optimizer, model.trainable_variables)
    if factors is None:
        return list(gradient)
    return [g * p for g, p in zip(gradient, factors, strict=True)]


def _along_decay(model: keras.Model, gradient: Sequence[Tensor]) -> float:
    """The scalar product of the gradient and the weights that decay."""
    pairs = zip(gradient, model.trainable_variables, strict=True)
    chosen = [(g, w) for g, w in pairs if decays(model.optimizer, w)]
    weights = [tf.cast(keras.ops.convert_to_tensor(w), tf.float32) for _, w in chosen]
    return float(_dot([g for g, _ in chosen], weights))


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    products = [tf.reduce_sum(x * y) for x, y in zip(a, b, strict=True)]
    return tf.add_n(products) if products else tf.zeros(())


def _place(knobs: RegularizationKnobs, positions: Any, chosen: np.ndarray) -> None:
    for i, live in enumerate(knobs.live.values()):
        if chosen[i]:
            live.assign_on_scale(positions[i])


def _slope_of_value(position: float, scale: str) -> float:
    """By how much the value grows with its place on the scale."""
    if scale == "log":
        return float(np.exp(position))
    value = 0.5 * (1.0 + np.tanh(0.5 * position))
    return float(value * (1.0 - value))


def _size(batch: Data) -> int:
    return int(keras.ops.shape(keras.tree.flatten(batch[0])[0])[0])
