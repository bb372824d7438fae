"""A bound on updates that come to nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import flag, integer
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._update_gate import UpdateGate
from keras_ext._live._hyper_variable import HyperVariable

# The places in the row of counts.
_SEEN, _SKIPPED, _IN_A_ROW, _FIRST, _FAILED = range(5)


@keras.saving.register_keras_serializable(package="keras_ext")
class SkipNonFinite(UpdateGate):
    """Ends the training when too many updates in a row are NaN or infinite.

    `GradientPipeline` skips every update whose gradient is not finite. So a single bad
    batch does no harm. But if the weights themselves, or all of the data, are broken,
    training would go on for hours and change nothing. With this transform, more than
    `max_consecutive` such updates in a row raise an error that names the first of them
    and the weight where it began.

    A bad value spreads towards the input, as the backward pass does. So the error names
    the last weight, in the order of the model, whose gradient was bad in that first
    update. If it is in the last layer, suspect the loss or the data first.

    `check` raises the error. The callbacks of this library call it every 50 batches and
    after each epoch, and `fit` does at its end. In a step that is not compiled by XLA,
    the update itself fails too, if `raise_in_step`; XLA cannot fail, and in a pipeline
    that a callback has put in place it need not.

    With `mixed_float16`, `compile` puts a `LossScaleOptimizer` around the pipeline,
    which skips such updates itself. To count them here, pass `compile` a pipeline
    around a `LossScaleOptimizer`, and `auto_scale_loss=False`.

    Args:
        max_consecutive: Integer >= 0; more skipped updates in a row are an error. A
            `LossScaleOptimizer` may need some 15 to find its scale. A `HyperVariable`.
            Defaults to `20`.
        raise_in_step: Whether to fail in the update itself, too, where that is
            possible. Defaults to `True`.
        include: Which variables are looked at: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is not of this form.
        FloatingPointError: By `check`, see above.
        tensorflow.errors.InvalidArgumentError: By the update, see above.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> skip = kx.gradients.SkipNonFinite(max_consecutive=1, raise_in_step=False)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [skip]
        ... )
        >>> kernel = keras.Variable([1.0], name="kernel")
        >>> for gradient in (1.0, float("nan"), float("nan")):
        ...     optimizer.apply([keras.ops.array([gradient])], [kernel])
        >>> skip.skipped
        2
        >>> skip.check()
        Traceback (most recent call last):
        FloatingPointError: More than max_consecutive=1 updates in a row were left out.
        It began in update 2, with the gradient of 'kernel', which was NaN or...
    """

    # What `check` raises, and what it says of the first bad update.
    error: ClassVar[type[Exception]] = FloatingPointError
    finding: ClassVar[str] = "was NaN or infinite"

    def __init__(
        self,
        max_consecutive: int = 20,
        *,
        raise_in_step: bool = True,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        flag(raise_in_step, "raise_in_step")
        self.max_consecutive = HyperVariable(
            integer(max_consecutive, "max_consecutive", low=0),
            "max_consecutive",
            bounds=(0, None),
            dtype="int32",
        )
        self.raise_in_step = bool(raise_in_step)
        self._counts: Any = None

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        chosen = self.chosen(variables)
        self._paths = [v.path for v in chosen]
        self._place = {id(v): i for i, v in enumerate(chosen)}
        self._counts = self.add_state((5,), "skip_counts", dtype="int32")
        # How bad the gradient of each weight was where the present row of skips began.
        self._blame = self.add_state((len(chosen),), "blame")

    def admits(
        self, squared_norms: Tensor, variables: Sequence[Variable], finite: Tensor
    ) -> Tensor:
        present = [i for i, v in enumerate(variables) if id(v) in self._place]
        places = [[self._place[id(variables[i])]] for i in present]
        squares = tf.scatter_nd(
            np.array(places, "int32").reshape(-1, 1),
            ops.take(squared_norms, np.array(present, "int32")),
            (len(self._paths),),
        )
        accepted = self.accepts(squares)
        self._count(accepted, squares)
        return accepted

    def accepts(self, squared_norms: Tensor) -> Tensor:
        """Returns whether the update may be made.

        Args:
            squared_norms: The squared norms of the gradients of the chosen weights,
                in the order of the model, with 0 where there is no gradient.
        """
        return ops.all(ops.isfinite(squared_norms))

    def blame(self, squared_norms: Tensor) -> Tensor:
        """Returns how bad each gradient is; the largest number is reported."""
        bad = ops.cast(ops.logical_not(ops.isfinite(squared_norms)), "float32")
        # The last one of them.
        return bad * np.arange(1, len(self._paths) + 1, dtype="float32")

    def _count(self, accepted: Tensor, squared_norms: Tensor) -> None:
        counts = ops.convert_to_tensor(self._counts.value)
        skip = 1 - ops.cast(accepted, "int32")
        seen = counts[_SEEN] + 1
        in_a_row = (counts[_IN_A_ROW] + 1) * skip
        had_failed = counts[_FAILED]
        begins = ops.logical_and(in_a_row == 1, had_failed == 0)
        failed = ops.where(in_a_row > self.max_consecutive.value, 1, had_failed)
        # What has failed stays on record until somebody looks.
        self._counts.assign(
            ops.stack(
                [
                    seen,
                    counts[_SKIPPED] + skip,
                    in_a_row,
                    ops.where(begins, seen, counts[_FIRST]),
                    failed,
                ]
            )
        )
        blame = ops.where(begins, self.blame(squared_norms), self._blame.value)
        self._blame.assign(blame)
        if self.raise_in_step:
            self._assert(failed, blame)

    def _assert(self, failed: Tensor, blame: Tensor) -> None:
        # XLA drops it. Constant texts may stand in what it compiles, chosen ones not.
        tf.debugging.Assert(
            tf.equal(failed, 0),
            [
                f"{type(self).__name__}: more than max_consecutive updates in a row "
                "were left out. Its check() says where it began. It was with weight",
                tf.argmax(blame),
                "of",
                self._paths,
            ],
            summarize=len(self._paths),
        )

    def leave_checks_to_host(self) -> None:
        self.raise_in_step = False

    @property
    def skipped(self) -> int:
        """The number of updates that were skipped so far; read on the host."""
        return int(self._read()[_SKIPPED])

    @property
    def in_a_row(self) -> int:
        """How many updates were skipped since the last one that was made."""
        return int(self._read()[_IN_A_ROW])

    @property
    def has_failed(self) -> bool:
        """Whether `check` raises."""
        return bool(self._read()[_FAILED])

    def reset(self) -> None:
        """Forgets that too many were skipped in a row."""
        counts = self._read().copy()
        counts[[_IN_A_ROW, _FAILED]] = 0
        self._counts.assign(counts)

    def _read(self) -> np.ndarray:
        if self._counts is None:
            return np.zeros(5, "int32")
        return np.asarray(ops.convert_to_numpy(self._counts))

    def check(self) -> None:
        counts = self._read()
        if not counts[_FAILED]:
            return
        blame = ops.convert_to_numpy(self._blame)
        path = self._paths[int(np.argmax(blame))]
        raise self.error(
            f"More than max_consecutive={int(self.max_consecutive)} updates in a row "
            f"were left out. It began in update {counts[_FIRST]}, with the gradient of "
            f"{path!r}, which {self.finding}. In all, {counts[_SKIPPED]} of "
            f"{counts[_SEEN]} updates were left out. "
            "Check the data and the loss for invalid values, or lower the learning "
            "rate."
        )

    def get_config(self) -> Config:
        return {
            "max_consecutive": int(self.max_consecutive),
            "raise_in_step": self.raise_in_step,
            **super().get_config(),
        }
