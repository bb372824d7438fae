"""Chooses the batch size when training begins."""

from collections.abc import Sequence

from keras_ext._core._checks import choice, integer, integers, number, require
from keras_ext._core._typing import Logs, Record
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext.callbacks._announcement import shows_progress, tell, verbosity
from keras_ext.data import DynamicBatches
from keras_ext.diagnostics._find_batch_size import BatchSizes, find_batch_size


class BatchSizeFinder(CopyableCallback):
    """Chooses the batch size when `fit` begins: the fastest, or the largest that fits.

    It runs a few steps with each size and leaves the model as it was, see
    `find_batch_size`. This takes some seconds at the beginning of each `fit`. The
    learning rate stays as it is.

    Logs `batch_size`.

    Args:
        data: The `DynamicBatches` that `fit` is given too.
        mode: `"fastest"` for the smallest size that reaches 95 % of the highest number
            of samples per second; `"largest"` for the largest that fits in memory.
            Defaults to `"fastest"`.
        sizes: List of integers, some of `data.sizes`, the sizes to try. None means all.
        steps: Integer >= 1, how many steps are timed for each size. Defaults to `10`.
        memory_limit: Number > 0, in bytes. None means that of `find_batch_size`.
        verbose: `1` to print a line with the size, unless `fit` is told `verbose=0`;
            `0` to be silent. Defaults to `1`.

    Attributes:
        result: What was found in the last `fit`, see `find_batch_size`.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if not
            even the smallest size fits.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> batches = kx.data.DynamicBatches(np.ones((100, 8)), np.ones((100, 1)))
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> finder = kx.callbacks.BatchSizeFinder(batches, mode="largest")
        >>> history = model.fit(batches, callbacks=[finder], verbose=0)
        >>> history.history["batch_size"]
        [64]
    """

    def __init__(
        self,
        data: DynamicBatches,
        *,
        mode: str = "fastest",
        sizes: Sequence[int] | None = None,
        steps: int = 10,
        memory_limit: float | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        self.verbose = verbosity(verbose)
        is_dynamic = isinstance(data, DynamicBatches)
        require(is_dynamic, "data", data, "keras_ext.data.DynamicBatches")
        self.data = data
        self.mode = choice(mode, "mode", ("fastest", "largest"))
        self.sizes = integers(sizes, "sizes", optional=True)
        subset = set(self.sizes or ()) <= set(data.sizes)
        require(subset, "sizes", sizes, f"some of data.sizes={data.sizes}")
        self.steps = integer(steps, "steps", low=1)
        self.memory_limit = number(memory_limit, "memory_limit", above=0, optional=True)
        self.result: BatchSizes | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self.result = find_batch_size(
            self.model,
            self.data,
            sizes=self.sizes,
            steps=self.steps,
            memory_limit=self.memory_limit,
            show_progress=shows_progress(self),
        )
        best = getattr(self.result, self.mode)
        require(best is not None, "sizes", self.sizes, f"small enough\n{self.result}\n")
        self.data.batch_size = best
        tell(self, f"batches of {best} samples, the {self.mode} of {self._tried()}")

    def _tried(self) -> str:
        trials = self.result.trials if self.result is not None else ()
        return ", ".join(str(trial.batch_size) for trial in trials)

    def get_state(self) -> Record:
        return {"batch_size": int(self.data.batch_size)}

    def set_state(self, state: Record) -> None:
        self.data.batch_size = state["batch_size"]

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs.setdefault("batch_size", self.data.batch_size)
