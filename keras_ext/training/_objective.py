"""The base of callbacks that change what a step minimizes."""

from collections.abc import Sequence
from typing import ClassVar

from keras_ext._core._typing import Data, Tensor, Variable
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext.training._attached_step import AttachedStep


class Objective(ScopedCallback):
    """Changes what a model is trained for, in a `fit` whose `compile` stays as it is.

    An objective goes into `callbacks=[...]`. Its hooks run in the compiled step, around
    that of the model, and are gone after `fit`, however it ends: the model is evaluated
    and saved as it is, also in between. All that holds of a step holds of this one:
    other callbacks, accumulation, loss scaling, sample weights, several replicas, a
    `train_step` of your own if it calls the model and its `compute_loss`.

    To write one, override any of the hooks below; each does nothing by default. Several
    may stand in one list: batches are changed in its order, and losses add up.

    Validation shows the compiled loss alone.

    Raises:
        ValueError: When the step is traced, if it calls not the model and its
            `compute_loss`, or if two objectives perturb the weights.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> class LessSure(kx.training.Objective):
        ...     '''Rewards the entropy of the predictions.'''
        ...     def extra_loss(self, x, y, y_pred, sample_weight, loss):
        ...         log = keras.ops.log(y_pred + 1e-7)
        ...         return 0.1 * keras.ops.mean(keras.ops.sum(y_pred * log, axis=-1))
        >>> layers = [keras.Input((4,)), keras.layers.Dense(3, "softmax")]
        >>> model = keras.Sequential(layers)
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> x, y = np.ones((32, 4)), np.zeros(32)
        >>> history = model.fit(x, y, callbacks=[LessSure()], verbose=0)
        >>> history.history["loss"][0] < model.evaluate(x, y, verbose=0) + 1
        True
    """

    # For `hyper_variables(model)`, while it is hung on the model.
    holds_hyper_variables: ClassVar[bool] = True

    def attach(self, scope: FitScope) -> None:
        with scope.model.distribute_strategy.scope():
            self.build()
        AttachedStep.of(scope).add(self)

    def build(self) -> None:
        """Makes variables, before the step is traced, in the strategy of the model.

        The model may have no weights yet, if it has no input shape.
        """

    def transform_batch(
        self, x: Data, y: Data, sample_weight: Data
    ) -> tuple[Data, Data, Data]:
        """Returns the batch that the step is made with.

        Metrics see this batch, too.

        Args:
            x: The inputs.
            y: The targets, or None.
            sample_weight: The weights of samples, or None.
        """
        return x, y, sample_weight

    def perturb_weights(
        self, x: Data, y: Data, sample_weight: Data
    ) -> Sequence[tuple[Variable, Tensor]]:
        """Returns pairs of a trainable variable and what is added to it.

        The loss and its gradient are those at these weights; the optimizer moves the
        ones that are there. Called before the step; a pass of the model in it should be
        a silent one.

        Args:
            x: The inputs.
            y: The targets, or None.
            sample_weight: The weights of samples, or None.
        """
        return ()

    def extra_loss(
        self, x: Data, y: Data, y_pred: Tensor, sample_weight: Data, loss: Tensor
    ) -> Tensor | None:
        """Returns what is added to the loss of the part of the batch on this replica.

        Called within the tape, after the loss was computed. None means nothing.

        Args:
            x: The inputs.
            y: The targets, or None.
            y_pred: What the model has predicted.
            sample_weight: The weights of samples, or None.
            loss: The loss so far, a constant.
        """
        return None

    def after_step(self, x: Data, y: Data, sample_weight: Data) -> None:
        """Is called when the optimizer has moved the weights.

        Args:
            x: The inputs.
            y: The targets, or None.
            sample_weight: The weights of samples, or None.
        """
