"""Adaptive gradient clipping for existing training loops."""

from keras_ext.callbacks._gradient_callback import GradientCallback
from keras_ext.core._typing import Logs, Pattern
from keras_ext.gradients._adaptive_clip import AdaptiveClip
from keras_ext.optimizers._attached_pipeline import AttachedPipeline
from keras_ext.signals._clip_statistics import ClipStatistics


class LayerwiseAdaptiveClipping(GradientCallback):
    """Clips gradients relative to the weights they move, without touching `compile`.

    While training, `keras_ext.gradients.AdaptiveClip` stands between the gradient and
    the optimizer of the model: the gradient of each output unit is scaled down to
    `clipping` times the norm of its weights if it is longer. It sees the gradient of
    the whole batch, summed over the replicas. At the end of `fit` the model has its own
    optimizer back, with its state advanced.

    Logs `clipped_fraction`, the share of units that were clipped, smoothed over some
    twenty updates, and `nonfinite_steps`, the updates left out so far.

    Args:
        clipping: Number >= 0, the largest ratio of gradient norm to weight norm.
            Defaults to `0.01`.
        epsilon: Number > 0, the smallest weight norm that counts.
            Defaults to `0.001`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form; for the classifier head its name.
            None means none.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training. Defaults to `"skip"`.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if the
            model has no optimizer or does not use it.
        FloatingPointError: With `nonfinite="raise"`, if a gradient was not finite.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> history = model.fit(
        ...     np.ones((8, 2)),
        ...     np.ones((8, 1)),
        ...     callbacks=[kx.callbacks.LayerwiseAdaptiveClipping(exclude="bias")],
        ...     verbose=0,
        ... )
        >>> sorted(history.history)
        ['clipped_fraction', 'loss', 'nonfinite_steps']
        >>> type(model.optimizer).__name__
        'SGD'

    References:
        - [Brock et al., 2021](https://arxiv.org/abs/2102.06171)
    """

    def __init__(
        self,
        clipping: float = 0.01,
        epsilon: float = 1e-3,
        include: Pattern = None,
        exclude: Pattern = None,
        nonfinite: str = "skip",
    ) -> None:
        super().__init__(nonfinite=nonfinite)
        # Made here to check the arguments, and again in every fit, with fresh state.
        AdaptiveClip(clipping, epsilon, include, exclude)
        self.clipping = clipping
        self.epsilon = epsilon
        self.include = include
        self.exclude = exclude

    def install(self, pipeline: AttachedPipeline) -> None:
        clip = AdaptiveClip(self.clipping, self.epsilon, self.include, self.exclude)
        pipeline.add_transform(clip)
        self._statistics = ClipStatistics(clip)
        pipeline.add_signal(self._statistics)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["clipped_fraction"] = self._statistics.read()["clipped_fraction"]
        super().on_epoch_end(epoch, logs)
