"""How many samples `fit` delivers at a time."""

from keras import ops

from keras_ext._anatomy._batch_length import batch_length
from keras_ext._core._typing import Data, Function, Record
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras._replica import local_variable, native


class FirstBatch:
    """Counts the samples of the first batch of a `fit`, over all replicas.

    Keras tells a callback neither the batch size nor the data. The step sees them; it
    notes the number on the device, from where it is read once.

    Args:
        scope: The scope of the `fit`.
    """

    def __init__(self, scope: FitScope) -> None:
        with scope.model.distribute_strategy.scope():
            self._samples = local_variable((), "int64", "samples_of_first_batch", "sum")
        # Outermost, to count what `fit` delivers.
        scope.link("train_step", self._noting, outermost=True)

    def _noting(self, step: Function) -> Function:
        def train_step(data: Data, *args: object, **kwargs: object) -> Record:
            count = batch_length(data)
            if count is not None:
                noted = self._samples.value
                count = ops.cast(count, "int64")
                self._samples.assign(ops.where(noted > 0, noted, count))
            return step(data, *args, **kwargs)

        return train_step

    def read(self) -> int:
        """The number; 0 before the first batch, and if the step was not called."""
        return int(native(self._samples).read_value())
