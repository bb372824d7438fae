"""What a batch size can be, and how it is set."""

from keras_ext._core._typing import Data
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._keras._optimizer_family import batches_per_update


class BatchSizeActuator:
    """Makes updates of about as many samples as asked for.

    By batches of another size, if there is `data` whose batch size can be assigned; by
    accumulation of batches; or by the first up to a limit, and the second beyond. An
    optimizer that accumulates by itself goes on with it, which counts.

    Args:
        pipeline: The pipeline that accumulates.
        batch_size: The size of a batch, if it cannot be changed.
        data: What has `batch_size` and `sizes`. None means that it cannot.
        largest: The largest size of an update that will be asked for.
        largest_batch: The largest size of a batch of `data`, None for any.
        accumulates: Whether several batches may make an update.

    Attributes:
        batch: The size of a batch.
        within: How many of them the optimizer makes an update of by itself.
    """

    def __init__(
        self,
        pipeline: AttachedPipeline,
        batch_size: int,
        data: Data,
        largest: float,
        largest_batch: int | None,
        accumulates: bool,
    ) -> None:
        self._pipeline = pipeline
        self._data = data
        self.within = batches_per_update(pipeline.optimizer)
        largest /= self.within
        self._largest_batch = largest_batch or largest
        self._accumulates = accumulates
        self.batch = batch_size
        if accumulates:
            unit = self._batch_for(largest)
            pipeline.allow_accumulation(max(1, int(largest // unit)))

    def _batch_for(self, size: float) -> int:
        if self._data is None:
            return self.batch
        sizes = sorted(int(s) for s in self._data.sizes)
        fitting = [s for s in sizes if s <= min(size, self._largest_batch)]
        return fitting[-1] if fitting else sizes[0]

    def set(self, size: float) -> int:
        """Sets the size of an update, rounded down to what is possible, and returns it.

        Args:
            size: A number of samples.
        """
        size /= self.within
        self.batch = self._batch_for(size)
        if self._data is not None and int(self._data.batch_size) != self.batch:
            self._data.batch_size = self.batch
        if not self._accumulates:
            return self.batch * self.within
        steps = max(1, int(size // self.batch))
        self._pipeline.accumulation_steps.assign(steps)
        return steps * self.batch * self.within
