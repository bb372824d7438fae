"""Moves the learning rate by its own gradient."""

import numpy as np

from keras_ext._core._checks import choice, number
from keras_ext._core._typing import Logs
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.callbacks.gradients._hypergradient_gain import HypergradientGain


class HypergradientLearningRate(GradientCallback):
    """Moves the learning rate, in every update, by the gradient of the loss for it.

    That gradient is the product of the present gradient with the last move of the
    weights. If the way down from here points where the last step went, the step was too
    short; if it points back, the step was too long. Only the angle counts here: the
    rate is multiplied by `1 + step * cosine`, so that scales do not matter (the
    multiplicative rule of the paper). It scales the moves of any optimizer, also on top
    of a schedule.

    It rescues a training from a rate that is orders of magnitude too small. It looks
    only one step ahead: if a large rate pays only in the long run, it keeps the rate
    too small.

    It scales the moves of the optimizer, including weight decay, for the duration of
    `fit`; afterwards the optimizer has its own learning rate again. It keeps one number
    for every number in the weights.

    Logs `learning_rate_multiplier`, per layer their geometric mean, and
    `nonfinite_steps`, the updates left out so far.

    Args:
        step: Number in [0, 1), how much the angle counts. A rate that is always too
            short grows by this share per update. Defaults to `0.02`.
        per: `"global"` for one learning rate, or `"layer"` for one for each layer.
            Defaults to `"global"`.
        max_change: Number > 1; the rate is multiplied by at most this, and divided by
            at most this. Defaults to `1000.0`.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training, `"recover"` to go back to good weights,
            see `GradientCallback`. Defaults to `"skip"`.
        verbose: `1` to print a line at the end with the last multiplier, unless `fit`
            is told `verbose=0`; `0` to be silent. Defaults to `1`.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if the
            model has no optimizer, or does not use it, or one with `use_ema` or that
            gives weights values of its own, as `Lookahead` and `Proximal` do.
        FloatingPointError: With `nonfinite="raise"`, if a gradient was not finite.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(1e-4), "mse")  # far too small
        >>> x = np.random.default_rng(0).normal(size=(256, 4))
        >>> adapt = kx.callbacks.HypergradientLearningRate()
        >>> history = model.fit(
        ...     x, x[:, :1], batch_size=8, epochs=5, callbacks=[adapt], verbose=0
        ... )
        >>> history.history["learning_rate_multiplier"][-1] > 2
        True

    References:
        - [Baydin et al., 2018](https://arxiv.org/abs/1703.04782)
    """

    compiled = frozenset({"step", "per", "max_change"})

    def __init__(
        self,
        step: float = 0.02,
        *,
        per: str = "global",
        max_change: float = 1e3,
        nonfinite: str = "skip",
        verbose: int = 1,
    ) -> None:
        super().__init__(nonfinite=nonfinite)
        self.verbose = verbosity(verbose)
        self.step = number(step, "step", low=0, below=1)
        self.per = choice(per, "per", ("global", "layer"))
        self.max_change = number(max_change, "max_change", above=1)

    def install(self, pipeline: AttachedPipeline) -> None:
        limits = (1 / self.max_change, self.max_change)
        self._part = HypergradientGain(self.step, self.per, limits)
        pipeline.add_transform(self._part)

    @property
    def multipliers(self) -> dict[str, float]:
        """What the learning rate is multiplied by, from layer to number."""
        part = vars(self).get("_part")
        return {} if part is None else part.gains

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["learning_rate_multiplier"] = self._mean()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Logs = None) -> None:
        mean = self._mean()
        tell(self, f"the learning rate was multiplied by {mean:.3g} in the end")
        super().on_train_end(logs)

    def _mean(self) -> float:
        gains = list(self.multipliers.values())
        # Of factors the mean is the geometric one.
        return float(np.exp(np.mean(np.log(gains)))) if gains else 1.0
