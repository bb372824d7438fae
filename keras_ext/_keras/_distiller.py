"""Keras's `Distiller`, which trains a student in one pass and leaves no trace of it.

Keras runs a student a second time for the outputs of its layers, also with dropout and
moving statistics while it validates; and leaves out the losses of regularizers.

Private names: `_student_feature_extractor`, `_student_loss`, and of a compiled model
the metrics that it was given, `_user_metrics` in `_compile_metrics`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Function, Tensor
from keras_ext._keras._functional import is_functional
from keras_ext._keras._loss_weights import of_each_output, user_loss_weights


class OnePassDistiller(keras.distillation.Distiller):
    """Trains a student with one pass of it for each step.

    Distillation losses that have a method `see_batch` are told the labels and the
    number of updates so far, those with a `projection` have it trained.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._require_plain_losses()
        projections = [getattr(x, "projection", None) for x in self.distillation_losses]
        self.projections = [layer for layer in projections if layer is not None]
        self._features: dict[str, Tensor] | None = None
        # Both models are; callbacks look at the weights before the first step.
        self.built = True

    def _require_plain_losses(self) -> None:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        for loss in self.distillation_losses:
            inner = keras.tree.flatten(getattr(loss, "loss", None))
            plain = not any(type(x).__module__.startswith("keras.") for x in inner)
            plain = plain or not any(isinstance(x, keras.losses.Loss) for x in inner)
            rule = f"made with functions or names as `loss`, for {replicas} replicas"
            require(replicas == 1 or plain, "losses", type(loss).__name__, rule)

    def compile_like(self, model: keras.Model) -> None:
        """Compiles it as a model is, with an optimizer of its own."""
        config = keras.optimizers.serialize(model.optimizer)
        losses = _losses_of(model)
        self.compile(
            keras.optimizers.deserialize(config),
            losses,
            metrics=_metrics_of(model),
            jit_compile=model.jit_compile,
            run_eagerly=model.run_eagerly,
            steps_per_execution=model.steps_per_execution,
        )
        if isinstance(losses, dict | list):
            # Past Keras's tracking, which makes another type of it than labels have.
            object.__setattr__(self, "_student_loss", losses)

    def call(
        self, inputs: Data, training: bool | None = None, **kwargs: object
    ) -> Tensor:
        if self._student_feature_extractor is None:
            return super().call(inputs, training=training, **kwargs)
        self._features = self._student_feature_extractor(inputs, training=training)
        return self._features["final_output"]

    def compute_loss(
        self,
        x: Data = None,
        y: Data = None,
        y_pred: Data = None,
        sample_weight: Data = None,
        training: bool = True,
    ) -> Tensor:
        hint = "Keras's Distiller would leave them out."
        none = sample_weight is None
        require(none, "sample_weight", sample_weight, "None in distillation", hint)
        self._is_training = training
        # `fit` makes a tuple of a list, and outputs are a list.
        y = list(y) if isinstance(y, tuple) else y
        for loss in self.distillation_losses:
            if hasattr(loss, "see_batch"):
                loss.see_batch(y, self.optimizer.iterations)
        total = super().compute_loss(x, y, y_pred, None, training)
        total = keras.ops.add(total, sum(self.student.losses))
        # The gradients of replicas are added up.
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def _create_feature_extractor(
        self, model: keras.Model, names: list[str]
    ) -> keras.Model | None:
        made = super()._create_feature_extractor(model, names)
        if made is None or len(model.inputs) > 1:
            return made
        # Keras makes one of a list with one input, and warns when it gets no list.
        return keras.Model(model.inputs[0], made.output, name=made.name)

    def _extract_all_student_features(self, x: Data, y_pred: Data) -> dict[str, Tensor]:
        if self._student_feature_extractor is None:
            return {"final_output": y_pred}
        if self._features is not None and self._features["final_output"] is y_pred:
            return self._features
        return self._student_feature_extractor(x, training=self._is_training)


def _losses_of(model: keras.Model) -> Any:
    """The losses of a student with their weights, in the structure of its outputs.

    Keras averages them over rows, without a share for each replica, and leaves out the
    weights that `compile` got.
    """
    loss, weights = model.loss, user_loss_weights(model)
    if is_functional(model) and len(model.outputs) > 1:
        pairs = zip(*(of_each_output(model, i) for i in (loss, weights)), strict=True)
        means = [_mean_of(*pair) for pair in pairs]
        return keras.tree.pack_sequence_as(model.output, means)
    if isinstance(loss, dict | list | tuple) and len(keras.tree.flatten(loss)) > 1:
        # A model of one's own, whose outputs are as its losses.
        return keras.tree.map_structure(lambda own: _mean_of(own, None), loss)
    (loss,) = keras.tree.flatten(loss)
    weight = None if weights is None else keras.tree.flatten(weights)[0]
    return _by_row(loss) if weight is None else _mean_of(loss, weight)


def _mean_of(loss: Any, weight: float | None) -> Function:
    """The mean over rows: those of several outputs Keras adds up, rows and all."""
    if loss is None:
        return lambda y_true, y_pred: 0.0
    each = _by_row(loss)
    times = 1.0 if weight is None else weight
    return lambda y_true, y_pred: times * keras.ops.mean(each(y_true, y_pred))


def _by_row(loss: Any) -> Function:
    """A loss for each row, for labels of the shapes that Keras takes."""
    found = keras.losses.get(loss)
    if isinstance(found, keras.losses.Loss):
        return found.call

    def rows(y_true: Tensor, y_pred: Tensor) -> Tensor:
        # A vector of labels, of which `fit` makes a column where outputs are one.
        if len(y_true.shape) + 1 == len(y_pred.shape) and y_pred.shape[-1] == 1:
            y_true = keras.ops.expand_dims(y_true, -1)
        return found(y_true, y_pred)

    return rows


def _metrics_of(
    model: keras.Model,
) -> Sequence[str | Function | keras.metrics.Metric] | None:
    """What `compile` was given as metrics, in a list."""
    metrics = getattr(getattr(model, "_compile_metrics", None), "_user_metrics", None)
    require(not isinstance(metrics, dict), "metrics", metrics, "a list in distillation")
    return metrics
