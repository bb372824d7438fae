"""The same sparsity all the time."""

from keras import ops

from keras_ext._core._checks import number
from keras_ext._core._typing import Tensor
from keras_ext.compression._sparsity_schedule import SparsitySchedule


class ConstantSparsity(SparsitySchedule):
    """Prunes to the same sparsity at each renewal.

    Arguments, steps and values are those of tensorflow-model-optimization. With
    `begin_step=1` a trained model is pruned at once and tuned afterwards; a later
    begin lets it train densely first.

    Args:
        target_sparsity: Number in [0, 1), the share of zeros in the pruned weights.
        begin_step: Integer >= 0, the first step at which weights may be pruned, counted
            in updates of the optimizer, from 1; with 0 that is step `frequency`.
        end_step: The last one, an integer; -1 for no end. Masks stay as they are after
            it. Defaults to `-1`.
        frequency: Integer >= 1, the steps between two renewals. Defaults to `100`.

    Raises:
        ValueError: If one of them is not of this form, or the end is before the begin.

    Examples:
        >>> import keras_ext as kx
        >>> schedule = kx.compression.ConstantSparsity(0.5, begin_step=200)
        >>> [step for step in range(500) if schedule.is_due(step)]
        [200, 300, 400]
    """

    def __init__(
        self,
        target_sparsity: float,
        *,
        begin_step: int,
        end_step: int = -1,
        frequency: int = 100,
    ) -> None:
        super().__init__(begin_step=begin_step, end_step=end_step, frequency=frequency)
        self.target_sparsity = number(
            target_sparsity, "target_sparsity", low=0, below=1
        )

    def sparsity(self, step: Tensor) -> Tensor:
        return ops.convert_to_tensor(self.target_sparsity, "float32")
