"""Weights that are thawed epoch by epoch."""

from collections.abc import Sequence

import keras

from keras_ext._anatomy._moving_norms import moving_norms
from keras_ext._core._checks import flag, is_integer, require
from keras_ext._core._pattern import check_pattern, matches
from keras_ext._core._typing import Logs, Pattern, Variable
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.callbacks.schedules._frozen_statistics import FrozenStatistics
from keras_ext.gradients.scale._freeze import Freeze


class GradualUnfreezing(GradientCallback):
    """Freezes parts of a model and thaws them at given epochs, without recompiling.

    Weights named in the schedule are frozen when `fit` begins and keep every bit, see
    `keras_ext.gradients.Freeze`; they are trained from the epoch listed with them. All
    other weights are trained throughout. Use it to fine-tune a pretrained model: the
    new head first, then the last layers, and those nearest to the input last. At the
    end of `fit` the model has its own optimizer back, with its state advanced.

    A `BatchNormalization` with a frozen weight or moving statistic behaves as with
    `trainable=False` in Keras: it normalizes by its moving statistics and leaves them
    as they are.

    It saves no time: the gradients of frozen weights are still computed.

    Logs `frozen_fraction`, the share of the numbers in the trainable weights that were
    frozen in the epoch, and `nonfinite_steps`, the updates left out so far.

    Args:
        schedule: List of pairs `(epoch, pattern)`: the epoch, counted from 0 as `fit`
            does (so that it goes on after `initial_epoch`), in which those weights are
            trained for the first time; and a regular expression that is searched in
            `variable.path`, a list of them, or a function from variable to bool. A
            weight that several patterns fit is thawed by the earliest.
        freeze_statistics: Whether frozen `BatchNormalization` layers rest, too. Without
            that their moving statistics follow the new data. Defaults to `True`.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training, `"recover"` to go back to good weights,
            see `GradientCallback`. Defaults to `"skip"`.
        verbose: `1` to print a line when something is thawed, unless `fit` is told
            `verbose=0`; `0` to be silent. Defaults to `1`.

    Raises:
        ValueError: If `schedule` is not of this form, or, when training begins, if one
            of its patterns fits no trainable weight, if the model has no optimizer, or
            does not use it, or one with `use_ema` or that keeps other weights, as
            `Lookahead` does.
        FloatingPointError: With `nonfinite="raise"`, if a gradient was not finite.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((2,)),
        ...         keras.layers.Dense(3, name="body"),
        ...         keras.layers.Dense(1, name="head"),
        ...     ]
        ... )
        >>> model.compile(keras.optimizers.Adam(1e-3), "mse")
        >>> thaw = kx.callbacks.GradualUnfreezing([(2, "body")])
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> history = model.fit(x, y, epochs=3, callbacks=[thaw], verbose=0)
        >>> [round(x, 2) for x in history.history["frozen_fraction"]]
        [0.69, 0.69, 0.0]

    References:
        - [Howard and Ruder, 2018](https://arxiv.org/abs/1801.06146)
    """

    def __init__(
        self,
        schedule: Sequence[tuple[int, Pattern]],
        *,
        freeze_statistics: bool = True,
        nonfinite: str = "skip",
        verbose: int = 1,
    ) -> None:
        super().__init__(nonfinite=nonfinite)
        self.verbose = verbosity(verbose)
        require(
            isinstance(schedule, list | tuple)
            and len(schedule) > 0
            and all(_is_entry(entry) for entry in schedule),
            "schedule",
            schedule,
            "a list of pairs (epoch, pattern): an integer >= 0, and a regular "
            "expression, a list of them, or a function",
        )
        for _, pattern in schedule:
            check_pattern("schedule", pattern)
        self.schedule = list(schedule)
        self.freeze_statistics = flag(freeze_statistics, "freeze_statistics")

    def _is_named(self, variable: Variable) -> bool:
        return any(matches(pattern, variable) for _, pattern in self.schedule)

    def install(self, pipeline: AttachedPipeline) -> None:
        if self.model.built:
            weights = list(self.model.trainable_variables)
            if self.freeze_statistics:
                for layer in moving_norms(self.model):
                    weights += layer.non_trainable_variables
            idle = [
                p for _, p in self.schedule if not any(matches(p, w) for w in weights)
            ]
            require(
                not idle,
                "schedule",
                self.schedule,
                f"patterns that each fit one of {[w.path for w in weights]}",
                hint=f"{idle} do not.{self._way_out(idle)}",
            )
        self._freeze: Freeze | None = None
        # A schedule of statistics alone has no weight to freeze.
        named = map(self._is_named, self.model.trainable_variables)
        if not self.model.built or any(named):
            self._freeze = Freeze(include=self._is_named)
            pipeline.add_transform(self._freeze)
        self._statistics: FrozenStatistics | None = None
        if self.freeze_statistics:
            self._statistics = FrozenStatistics(self.fit_scope, self._thaws_in)

    def _way_out(self, idle: Sequence[Pattern]) -> str:
        frozen = [w for w in self.model.weights if not w.trainable]
        if not any(matches(pattern, w) for pattern in idle for w in frozen):
            return ""
        return (
            " They fit weights that are not trainable: set `trainable = True` and "
            "compile anew, since this callback freezes them by itself."
        )

    def _thaws_in(self, layer: keras.Layer) -> int | None:
        """The epoch in which the last weight or statistic of a layer is thawed."""
        thawed = []
        for weight in layer.weights:
            epochs = [e for e, pattern in self.schedule if matches(pattern, weight)]
            thawed += [min(epochs)] if epochs else []
        return max(thawed, default=None)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._waiting = sorted(self.schedule, key=lambda entry: entry[0])

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        while self._waiting and self._waiting[0][0] <= epoch:
            _, pattern = self._waiting.pop(0)
            self._thaw(pattern)
            name = getattr(pattern, "__name__", repr(pattern))
            told = (
                "what its function says" if name == "<lambda>" else f"what fits {name}"
            )
            tell(self, f"{told} is trained from now on", epoch=epoch)
        if self._statistics is not None:
            self._statistics.begin_epoch(epoch)

    def _thaw(self, pattern: Pattern) -> None:
        if self._freeze is None:
            return
        if any(matches(pattern, w) for w in self.model.trainable_variables):
            self._freeze.thaw(pattern)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            freeze = self._freeze
            logs["frozen_fraction"] = freeze.frozen_fraction if freeze else 0.0
        super().on_epoch_end(epoch, logs)


def _is_entry(entry: object) -> bool:
    if not (isinstance(entry, list | tuple) and len(entry) == 2):
        return False
    epoch, pattern = entry
    return is_integer(epoch) and epoch >= 0 and pattern is not None
