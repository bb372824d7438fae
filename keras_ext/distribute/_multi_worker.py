"""A context in which `fit` works with several workers."""

import random
from contextlib import ExitStack
from types import TracebackType

import keras
import tensorflow as tf

from keras_ext._core._checks import checked_seed, number, require
from keras_ext._core._described import Described
from keras_ext._core._typing import Strategy
from keras_ext._keras import _symbolic_build
from keras_ext._keras._chief_files import only_chief_writes
from keras_ext.distribute._is_chief import is_chief
from keras_ext.distribute._strategy import KINDS
from keras_ext.distribute._strategy import strategy as make_strategy

_LOST = (
    "A worker may have ended or be out of reach. tf.distribute can neither go on "
    "without it nor let it come back: start all workers again. With "
    "`BackupAndRestore` they go on from what was saved last."
)


class MultiWorker(Described):
    """A context for model building, `fit`, `evaluate` and `predict` on many workers.

    The same script runs in every worker, all of it within this context: data, model,
    `compile`, `fit`, `evaluate`, `predict` and `save`. The batch size is that of all
    workers together. In one process the context is the scope of the strategy for its
    devices, so that the script needs no second version.

    With several workers it does three things more. It repairs what Keras 3.14 and 3.15
    do wrong there, as `keras_ext.distribute.strategy` does. It gives all workers the
    same random seed, so that arrays are shuffled alike. And until it ends it lets only
    the chief write: `save`, `save_weights`, `export`, and the callbacks
    `ModelCheckpoint`, `BackupAndRestore`, `CSVLogger` and `TensorBoard` of the other
    workers write to a temporary folder. All have to call them, though, since saving
    may sum values over the workers. `BackupAndRestore` reads what the chief has
    written, which all workers therefore need to see.

    Args:
        strategy: The strategy: a `tf.distribute.Strategy`, or the `kind` that
            `keras_ext.distribute.strategy` is to make. Defaults to `"auto"`.
        seed: Integer from 0 to 2**31 - 1 for `keras.utils.set_random_seed`. None means
            that the chief draws one, and with one worker that none is set.
        timeout: How long to wait for the other workers to come, in seconds.
            Defaults to `300.0`.

    Attributes:
        strategy: The strategy.

    Raises:
        ValueError: If an argument, TF_CONFIG or the SLURM variables are wrong.
        RuntimeError: If a worker does not come in time, or the workers disagree about
            the cluster or their numbers of devices.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x, y = np.ones((32, 4)), np.ones((32, 1))
        >>> with kx.distribute.MultiWorker() as strategy:
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        ...     model.compile("sgd", "mse")
        ...     history = model.fit(x, y, batch_size=8, verbose=0)
        >>> strategy.num_replicas_in_sync
        1
    """

    def __init__(
        self,
        strategy: Strategy = "auto",
        *,
        seed: int | None = None,
        timeout: float = 300.0,
    ) -> None:
        valid = isinstance(strategy, str) and strategy in KINDS
        valid = valid or isinstance(strategy, tf.distribute.Strategy)
        expected = f"a tf.distribute.Strategy or one of {', '.join(KINDS)}"
        require(valid, "strategy", strategy, expected)
        self.seed = checked_seed(seed)
        number(timeout, "timeout", above=0)
        if isinstance(strategy, str):
            strategy = make_strategy(strategy, timeout=timeout)
        self.strategy = strategy
        self._open: list[ExitStack] = []

    def __enter__(self) -> Strategy:
        with ExitStack() as stack:
            seed = self.seed
            if _symbolic_build.has_parts(self.strategy):
                _symbolic_build.repair()
            if _symbolic_build.in_cluster(self.strategy):
                seed = self._agreed_seed()
            stack.enter_context(self.strategy.scope())
            if not is_chief():
                stack.enter_context(only_chief_writes())
            if seed is not None:
                keras.utils.set_random_seed(seed)
            # Until here, an error closes again what has been opened.
            self._open.append(stack.pop_all())
        return self.strategy

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError):
            error.add_note(_LOST)
        self._open.pop().__exit__(kind, error, traceback)

    def _agreed_seed(self) -> int:
        """The seed of the first worker."""
        own = random.randrange(2**31) if self.seed is None else self.seed
        values = self.strategy.run(lambda: tf.constant([own], tf.int64))
        return int(self.strategy.gather(values, axis=0)[0])
