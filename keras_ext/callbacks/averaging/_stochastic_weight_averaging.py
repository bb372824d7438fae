"""The mean of the weights of the last epochs."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from keras_ext._anatomy._linked_method import Method, link_method
from keras_ext._anatomy._moving_norms import moving_norms
from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Data, Logs, Optimizer, Variable
from keras_ext._engine._local_updates import LocalUpdates
from keras_ext._engine._shown_weights import ShownWeights
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._fit._values import values_of
from keras_ext._keras._optimizer_family import optimizer_family
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.callbacks.regularization._data_of_fit import DataOfFit, given_rows
from keras_ext.callbacks.regularization._recalibrate_batch_norm import recalibrate


class StochasticWeightAveraging(ScopedCallback):
    """Averages the weights of the last epochs, and leaves the mean on the model.

    The mean lies in the middle of the region where the last epochs move around; there
    the loss is flatter and the probabilities are less overconfident. Use it for the
    last quarter of a training whose learning rate stays high there, constant or
    cyclical. With a rate that has decayed to 0, all the weights are the same, and the
    mean adds nothing. On 1,500 images of MNIST it made the loss on images that were
    shifted and noisy smaller by 10 %, and did nothing for others of the same kind (2
    ± 5 %), nor for the accuracy of either.

    From the end of the first averaged epoch on, the model holds the mean *between*
    epochs: validation uses it, and `ModelCheckpoint` and `EarlyStopping` save or
    remember it, wherever they are in the list. Before the next epoch begins, the model
    gets its training weights back, to the last bit.

    The statistics of `BatchNormalization` are not averaged: each time they are measured
    again, in inference mode on `train_data`, as `RecalibrateBatchNorm` does.

    Its state is saved with the model during training. Such a file has the mean as its
    weights; a training that resumes from it continues with the training weights.

    Logs `averaged_models`, the number of epochs in the mean so far.

    Args:
        start_epoch: Integer >= 0; the first epoch, counted from 0 as `fit` does, whose
            final weights are averaged. Three quarters of the epochs are usual.
        every_epochs: Integer >= 1; average the weights at this epoch interval; with a
            cyclical learning rate, its period. Defaults to `1`.
        train_data: What the statistics of `BatchNormalization` are measured on:
            `(x, y)` of arrays, or a dataset that yields such batches. None means up to
            2,048 rows of what `fit` trains on. Not used if the model has none.
        max_rows: Integer >= 1; rows of the arrays in `train_data` to use, evenly
            spaced. None means all.
        verbose: `1` to print a line at the end, unless `fit` is told `verbose=0`; `0`
            to be silent. Defaults to `1`.

    Attributes:
        averaged_models: The number of epochs in the mean.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if it
            ends before `start_epoch`, if the data of `fit` cannot be read again, or if
            replicas make updates of their own, as with `LocalSGD`, or the optimizer
            averages weights itself, as `ScheduleFree` does.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> x, y = np.ones((64, 4)), np.ones((64, 1))
        >>> average = kx.callbacks.StochasticWeightAveraging(start_epoch=2)
        >>> history = model.fit(x, y, epochs=5, callbacks=[average], verbose=0)
        >>> history.history["averaged_models"]
        [0, 0, 1, 2, 3]

    References:
        - [Izmailov et al., 2018](https://arxiv.org/abs/1803.05407)
    """

    remembered: ClassVar[tuple[str, ...]] = (
        "averaged_models",
        "_average",
        "_statistics",
        "_training",
    )

    def __init__(
        self,
        start_epoch: int,
        *,
        every_epochs: int = 1,
        train_data: Data = None,
        max_rows: int | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        self.verbose = verbosity(verbose)
        self.start_epoch = integer(start_epoch, "start_epoch", low=0)
        self.every_epochs = integer(every_epochs, "every_epochs", low=1)
        self.max_rows = integer(max_rows, "max_rows", low=1, optional=True)
        self.train_data = train_data
        self._rows = given_rows(train_data, max_rows)
        self.averaged_models = 0

    def attach(self, scope: FitScope) -> None:
        self.averaged_models = 0
        self._average: list[np.ndarray] | None = None
        # Of the mean, once they are measured; and what is set aside of the training
        # while the model has the mean.
        self._statistics: list[np.ndarray] | None = None
        self._training: list[np.ndarray] | None = None
        # The epoch that has begun and not ended.
        self._epoch: int | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._require_epochs()
        # Here: by now all others have put on the model what they need.
        _require_one_training(self.model.optimizer)
        self._batches = self._rows
        if self._rows is None and moving_norms(self.model):
            self._batches = DataOfFit(self.model).training_rows()
        self.fit_scope.on_close(self._resume)
        optimizer = self.model.optimizer
        name = "finalize_variable_values"
        self.fit_scope.on_close(link_method(optimizer, name, self._without_the_mean))

    def _require_epochs(self) -> None:
        epochs = (self.params or {}).get("epochs")
        reached = epochs is None or self.start_epoch < epochs
        expected = f"an integer < {epochs}, the number of epochs of `fit`"
        require(reached, "start_epoch", self.start_epoch, expected)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._resume()
        self._epoch = epoch

    def on_test_begin(self, logs: Logs = None) -> None:
        # The validation in `fit` comes before the end of the epoch.
        self._end_epoch()

    def before_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._end_epoch()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._end_epoch()
        if logs is not None:
            logs["averaged_models"] = self.averaged_models

    def on_train_end(self, logs: Logs = None) -> None:
        # The model keeps the mean, or what another callback has restored.
        self._training = None
        super().on_train_end(logs)
        self._average = self._statistics = None
        count = self.averaged_models
        if count:
            epochs = "1 epoch" if count == 1 else f"{count} epochs"
            tell(self, f"the mean of the weights of {epochs} is on the model")

    def _end_epoch(self) -> None:
        """Puts the mean on the model, unless it is there."""
        epoch, self._epoch = self._epoch, None
        if epoch is None or epoch < self.start_epoch:
            return
        present = values_of(self._variables())
        if (epoch - self.start_epoch) % self.every_epochs == 0:
            self._add(present)
        # With an `initial_epoch`, others may come before the first one of the mean.
        if self._average is None:
            return
        self._training = present
        _assign(self.model.trainable_variables, self._average)
        self._normalize()

    def _add(self, values: Sequence[np.ndarray]) -> None:
        weights = values[: len(self.model.trainable_variables)]
        self.averaged_models += 1
        self._statistics = None
        if self._average is None:
            # Wide enough for the mean of many: not that of bfloat16.
            wide = [np.promote_types(w.dtype, "float32") for w in weights]
            pairs = zip(weights, wide, strict=True)
            self._average = [np.array(w, dtype) for w, dtype in pairs]
            return
        for mean, w in zip(self._average, weights, strict=True):
            mean += (w.astype(mean.dtype) - mean) / self.averaged_models

    def _normalize(self) -> None:
        norms = moving_norms(self.model)
        if not norms:
            return
        if self._statistics is None:
            # A model that its first step has built may have shown them only now.
            self._batches = self._batches or DataOfFit(self.model).training_rows()
            recalibrate(self.model, norms, self._batches)
            self._statistics = values_of(self._moving())
        else:
            _assign(self._moving(), self._statistics)

    def _moving(self) -> list[Variable]:
        norms = moving_norms(self.model)
        return [v for n in norms for v in (n.moving_mean, n.moving_variance)]

    def _variables(self) -> list[Variable]:
        return [*self.model.trainable_variables, *self._moving()]

    def _resume(self) -> None:
        """Lets the training go on with its own weights, if they are set aside."""
        if self._training is not None:
            _assign(self._variables(), self._training)
            self._training = None

    def _without_the_mean(self, finalize: Method) -> Method:
        """Keras's last words to an optimizer, which may move the weights once more.

        A pipeline makes the update that it has accumulated for, an optimizer with
        averages of its own writes them: to the weights of the training, not the mean.
        """

        def finalize_training(*args: object, **kwargs: object) -> None:
            if self._training is None:
                finalize(*args, **kwargs)
                return
            variables = self._variables()
            mean = values_of(variables)
            self._resume()
            finalize(*args, **kwargs)
            self._training = values_of(variables)
            _assign(variables, mean)

        return finalize_training


def _assign(variables: Sequence[Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _require_one_training(optimizer: Optimizer) -> None:
    """Raises if the weights are averaged already, in another way."""
    kinds = LocalUpdates, ShownWeights
    found = [m for m in optimizer_family(optimizer) if isinstance(m, kinds)]
    names = [type(member).__name__ for member in found]
    hint = "It averages them itself."
    rule = "one that trains the weights that the model is judged by"
    require(not found, "model.optimizer", names, rule, hint)
