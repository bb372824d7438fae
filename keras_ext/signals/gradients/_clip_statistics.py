"""What a clipping rule does."""

from collections.abc import Mapping, Sequence

from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import number, require
from keras_ext._core._typing import Record, Tensor, Variable
from keras_ext._engine._clip_by_group_norm import ClipByGroupNorm
from keras_ext._engine._gradient_signal import GradientSignal, Update


class ClipStatistics(GradientSignal):
    """Keeps the norms, limits and clipped fractions of one clipping transform.

    Give it to `GradientPipeline(signals=[...])`, with the transform that it watches
    among its `transforms`.

    Args:
        transform: The `ClipByGroupNorm` to watch.
        smoothing: Number in [0, 1), the weight of the past in the average of the
            clipped fraction over updates. Defaults to `0.95`.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> clip = kx.gradients.AdaptiveClip(clipping=0.1)
        >>> statistics = kx.signals.ClipStatistics(clip)
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [clip], signals=[statistics]
        ... )
        >>> kernel = keras.Variable([[3.0, 3.0], [4.0, 4.0]], name="kernel")
        >>> optimizer.apply([keras.ops.array([[60.0, 0.0], [80.0, 0.1]])], [kernel])
        >>> statistics.read()["clipped_fraction"]  # the first of two units
        0.5
    """

    def __init__(self, transform: ClipByGroupNorm, *, smoothing: float = 0.95) -> None:
        super().__init__()
        require(
            isinstance(transform, ClipByGroupNorm),
            "transform",
            transform,
            "a ClipByGroupNorm",
        )
        self.transform = transform
        self.smoothing = number(smoothing, "smoothing", low=0, below=1)

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        # One column a group; rows for norms, limits and clipped fractions.
        num_groups = len(self.transform.groups)
        self._last = self.add_state((3, num_groups), "clip_statistics")
        self._samples = self.add_state((), "samples")

    @property
    def takes_sparse(self) -> bool:
        return True

    def before_update(self, update: Update) -> None:
        clipping = update.clippings.get(self.transform)
        if clipping is None or clipping.norms.shape[0] == 0:
            return
        norms, limits = clipping.norms, clipping.limits
        clipped = ops.cast(norms > limits, "float32")
        average = (
            self.smoothing * self._last.value[2] + (1.0 - self.smoothing) * clipped
        )
        self._last.assign(ops.stack([norms, limits, average]))
        self._samples.assign(self._samples + 1.0)

    def read(self) -> Record:
        """Fetches the present values.

        Returns:
            A dictionary with `"clipped_fraction"`, the share of groups that are
            clipped; `"per_weight"`, from the path of a weight (or of a layer, or
            `"global"`, as the transform has its norms) to its `"norm"`, `"threshold"`
            (means over its units) and `"clipped_fraction"`; and `"samples"`, the
            number of updates. Before the first one the values are NaN.
        """
        if not self.state:
            return {"clipped_fraction": float("nan"), "per_weight": {}, "samples": 0}
        last, samples = (
            ops.convert_to_numpy(v).astype("float64")
            for v in (self._last, self._samples)
        )
        if samples:
            # The average starts at zero; this takes out the part of the start.
            last[2] /= 1.0 - self.smoothing**samples
        else:
            last[:] = float("nan")
        columns: dict[str, list[int]] = {}
        for i, name in enumerate(self.transform.groups.names):
            columns.setdefault(name, []).append(i)
        names = ("norm", "threshold", "clipped_fraction")
        return {
            "clipped_fraction": _rounded(last[2].mean()) if columns else float("nan"),
            "per_weight": {
                name: dict(zip(names, map(_rounded, last[:, i].mean(1)), strict=True))
                for name, i in columns.items()
            },
            "samples": int(samples),
        }


def _rounded(value: Tensor) -> float:
    """To the digits that float32 has."""
    return float(f"{value:.6g}")
