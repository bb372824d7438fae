"""Estimates of the curvature of a loss, for an optimizer that asks for them."""

from collections.abc import Sequence

import tensorflow as tf

from keras_ext._anatomy._silent_pass import silent_pass
from keras_ext._anatomy._trial import called, loss_of
from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Data, Logs, Tensor, Variable
from keras_ext._engine._local_updates import LocalUpdates
from keras_ext._engine._loss_scaling import present_scale
from keras_ext._keras import _replica
from keras_ext._keras._optimizer_family import optimizer_family
from keras_ext._keras._sparse_gradient import dense
from keras_ext.training._attached_step import AttachedStep
from keras_ext.training._drawn_loss import DrawnLoss
from keras_ext.training._objective import Objective

_MOST = 2**31 - 1


class Curvature(Objective):
    """Tells `keras_ext.optimizers.Sophia` the curvature of the loss while training.

    Every `update_every` updates of the optimizer, one more pass over the batch of the
    step estimates the second derivatives of the loss, one for each weight. The
    `estimator` of the optimizer says how:

    - `"hutchinson"`: the loss with its penalties is derived twice, in the direction of
      random signs. Exact where the second derivatives of different weights are zero;
      the mean of the estimates is exact always. The model must be one that TensorFlow
      can derive twice.
    - `"gauss_newton_bartlett"`: labels are drawn as the model predicts them, and the
      gradient for them is squared. The mean of the estimates is the diagonal of the
      Gauss-Newton matrix of the mean loss, without penalties and `loss_weights`. The
      loss must be a categorical, sparse or binary crossentropy, or the mean squared
      error, of a single output.

    The pass leaves no trace: metrics, statistics of `BatchNormalization` and seeds are
    as without it, and dropout has the masks of the step. What is estimated does not
    depend on the number of replicas.

    Args:
        seed: Integer from 0 to 2**31 - 1, the seed of signs and labels.
            Defaults to `0`.

    Raises:
        ValueError: If `seed` is out of range, or, when training begins, if no optimizer
            of the model asks for a curvature, or the loss is not one to draw labels
            for, or replicas make updates of their own, as with `LocalSGD`.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> model.compile(
        ...     kx.optimizers.Sophia(0.01, estimator="gauss_newton_bartlett"),
        ...     keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ... )
        >>> x = np.random.default_rng(0).normal(size=(256, 4))
        >>> curvature = kx.training.Curvature()
        >>> history = model.fit(
        ...     x, x.argmax(1) % 3, epochs=5, callbacks=[curvature], verbose=0
        ... )
        >>> history.history["loss"][-1] < history.history["loss"][0]
        True

    References:
        - [Liu et al., 2023](https://arxiv.org/abs/2305.14342)
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = integer(seed, "seed", low=0, high=_MOST)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        present = self.fit_scope.shared.get("optimizer")
        rule = "without one for replicas that make updates of their own"
        is_one = not isinstance(present, LocalUpdates)
        require(is_one, "callbacks", type(present).__name__, rule)
        if self.model.built:
            with self.model.distribute_strategy.scope():
                self._build_asking()

    def _build_asking(self) -> None:
        """Before the step, in which Keras builds it last."""
        if not self._asking.built:
            self._asking.build(self.model.trainable_variables)

    def build(self) -> None:
        optimizer = self.model.optimizer
        # On the classes: wrappers pass on what they do not have themselves.
        asking = [
            member
            for member in optimizer_family(optimizer)
            if hasattr(type(member), "update_curvature")
        ]
        rule = "one that asks for the curvature, as keras_ext.optimizers.Sophia"
        require(len(asking) == 1, "model.optimizer", type(optimizer).__name__, rule)
        (self._asking,) = asking
        self._drawn: DrawnLoss | None = None
        if self._asking.estimator == "gauss_newton_bartlett":
            self._drawn = DrawnLoss(self.model.loss)

    def perturb_weights(
        self, x: Data, y: Data, sample_weight: Data
    ) -> Sequence[tuple[Variable, Tensor]]:
        def estimate(variables: Sequence[Variable]) -> list[Tensor | None]:
            # On one replica this is within the step; on several, which have threads of
            # their own here, it is not. So what other objectives add never counts.
            with AttachedStep.of(self.fit_scope).aside():
                if self._drawn is None:
                    return self._hutchinson(variables, x, y, sample_weight)
                return self._bartlett(self._drawn, variables, x, y, sample_weight)

        self._build_asking()
        self._asking.update_curvature(estimate)
        return ()  # The weights stay where they are.

    def _hutchinson(
        self, variables: Sequence[Variable], x: Data, y: Data, sample_weight: Data
    ) -> list[Tensor | None]:
        values = [v.value for v in variables]
        scale = present_scale(self.model.optimizer)
        with tf.GradientTape() as second:
            with tf.GradientTape() as first:
                with silent_pass(self.model):
                    loss = loss_of(self.model, x, y, sample_weight, training=True)
                scaled = loss * tf.cast(scale, loss.dtype)
            gradients = first.gradient(scaled, values)
            signs = [self._signs(v, i) for i, v in enumerate(variables)]
            pairs = zip(gradients, signs, strict=True)
            product = tf.add_n(
                # A weight that the loss does not depend on adds nothing.
                [tf.zeros(())]
                + [_product(dense(g), s) for g, s in pairs if g is not None]
            )
            # Times all of the scale, second derivatives are too large for float16;
            # without it, what they are made from is too small.
            root = tf.sqrt(tf.cast(scale, product.dtype))
            product = product / root
        found = _summed(second.gradient(product, values), root)
        pairs = zip(found, signs, strict=True)
        # Hutchinson: the mean of s * (H s), for random signs s, is the diagonal of H.
        return [None if h is None else h * s for h, s in pairs]

    def _signs(self, variable: Variable, index: int) -> Tensor:
        seed = self._seed(index)
        bits = tf.random.stateless_uniform(
            variable.shape, seed, minval=0, maxval=2, dtype=tf.int32
        )
        return tf.cast(2 * bits - 1, variable.value.dtype)

    def _bartlett(
        self,
        drawn: DrawnLoss,
        variables: Sequence[Variable],
        x: Data,
        y: Data,
        sample_weight: Data,
    ) -> list[Tensor | None]:
        scale = present_scale(self.model.optimizer)
        with tf.GradientTape() as tape:
            with silent_pass(self.model):
                y_pred = called(self.model, x, training=True)
            total = drawn.total(y, y_pred, sample_weight, self._seed(0))
            scaled = total * tf.cast(scale, total.dtype)
        found = _summed(tape.gradient(scaled, [v.value for v in variables]), scale)
        (count,) = _replica.all_reduce_sum([drawn.count(y_pred)])
        # With the sum of the gradients: the square of their mean, times the count.
        return [None if g is None else g**2 / tf.cast(count, g.dtype) for g in found]

    def _seed(self, index: int) -> Tensor:
        updates = tf.cast(tf.convert_to_tensor(self._asking.iterations), tf.int32)
        return tf.stack([tf.constant(self.seed, tf.int32) ^ (index << 8), updates])


def _product(gradient: Tensor, signs: Tensor) -> Tensor:
    return tf.cast(tf.reduce_sum(gradient * tf.cast(signs, gradient.dtype)), tf.float32)


def _summed(found: Sequence[Tensor | None], scale: Tensor) -> list[Tensor | None]:
    """What replicas have found, in sum, and of the loss without its scale."""
    present = _replica.all_reduce_sum([dense(x) for x in found if x is not None])
    unscaled = iter([x / tf.cast(scale, x.dtype) for x in present])
    return [None if x is None else next(unscaled) for x in found]
