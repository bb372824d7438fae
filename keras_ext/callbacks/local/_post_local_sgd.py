"""Synchronous training first, and local updates later."""

from typing import ClassVar

import keras
from keras import ops

from keras_ext._core._checks import integer
from keras_ext._core._typing import Logs
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.callbacks.local._local_sgd import LocalSGD


class PostLocalSGD(LocalSGD):
    """Trains synchronously first, and by `LocalSGD` later.

    Until `start_epoch`, or until the learning rate is lowered for the first time, the
    gradients are averaged at every step, as in ordinary training. From then on the
    replicas make their own updates, and their weights are averaged every `sync_every`
    steps. The authors found that this generalizes better than large batches; the guide
    has our findings.

    Logs `sync_every`, and `synchronizations` and `nonfinite_steps` as `LocalSGD` does.
    See `LocalSGD` for everything else.

    Args:
        sync_every: Integer >= 1, the number of steps between two averagings in the
            second part. Defaults to `16`.
        start_epoch: Integer >= 0, the epoch, counted from 0, that the second part
            begins with. None means with the first epoch that begins with a lower
            learning rate than the first one. When a training goes on that was
            interrupted, give the epoch.
        average_state: Whether to average what the optimizer keeps for the weights each
            time, too. Defaults to `False`.
        verbose: `1` to print a line when the second part begins, unless `fit` is told
            `verbose=0`; `0` to be silent. Defaults to `1`.

    Attributes:
        sync_every: The present number of steps, a `HyperVariable`.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if the
            model cannot be trained so.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> local = kx.callbacks.PostLocalSGD(sync_every=4)
        >>> decay = keras.callbacks.LearningRateScheduler(lambda t: 0.1 / (1 + t))
        >>> x, y = np.ones((64, 4)), np.ones((64, 1))
        >>> history = model.fit(x, y, epochs=2, callbacks=[local, decay], verbose=0)
        >>> history.history["sync_every"]
        [1, 4]

    References:
        - [Lin et al., 2020](https://arxiv.org/abs/1808.07217)
    """

    remembered: ClassVar[tuple[str, ...]] = ("_first_rate", "_is_later", "_epoch")

    def __init__(
        self,
        sync_every: int = 16,
        *,
        start_epoch: int | None = None,
        average_state: bool = False,
        verbose: int = 1,
    ) -> None:
        super().__init__(1, average_state=average_state)
        self.verbose = verbosity(verbose)
        self.later_sync_every = integer(sync_every, "sync_every", low=1)
        self.start_epoch = integer(start_epoch, "start_epoch", low=0, optional=True)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self.sync_every.assign(1)
        self._first_rate: float | None = None
        self._is_later, self._epoch = False, 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._epoch = epoch
        if self.start_epoch is not None and epoch >= self.start_epoch:
            self._begin_later()

    # Schedulers set the rate when an epoch begins, maybe after this callback.
    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if batch == 0 and self.start_epoch is None:
            rate = _learning_rate(self.model)
            self._first_rate = rate if self._first_rate is None else self._first_rate
            if rate < self._first_rate:
                self._begin_later()

    def _begin_later(self) -> None:
        self.sync_every.assign(self.later_sync_every)
        if not self._is_later:
            self._is_later = True
            line = f"replicas average their weights every {self.later_sync_every} steps"
            tell(self, f"{line} from now on", epoch=self._epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        if logs is not None:
            logs["sync_every"] = int(self.sync_every)


def _learning_rate(model: keras.Model) -> float:
    return float(ops.convert_to_numpy(model.optimizer.learning_rate))
