"""Moves dropout rates by the measured overfitting gap."""

import math
from collections.abc import Collection
from copy import deepcopy
from typing import ClassVar

import keras
import numpy as np
from keras.layers import Dropout

from keras_ext import layers
from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._anatomy._sublayers import layer_paths
from keras_ext._core._checks import flag, integer, number, require
from keras_ext._core._panels import Curve, draw_panels
from keras_ext._core._paths import joined
from keras_ext._core._pattern import check_pattern, is_selected, require_some
from keras_ext._core._typing import Data, Figure, Logs, Pattern, Record
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._live._find_hyperparameters import find_hyperparameters
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.callbacks.regularization._data_of_fit import DataOfFit
from keras_ext.controllers._controller import (
    Controller,
    change_by,
    check_controller,
)
from keras_ext.controllers.continuous._overfit_guards import OverfitGuards
from keras_ext.controllers.continuous._pi import PI
from keras_ext.signals.losses._loss_probe import LossProbe
from keras_ext.signals.losses._overfit_gap import OverfitGap

# Below this rate, dropout is off; a logit cannot reach 0.
_SMALLEST_RATE = 0.01
_DOTTED = {"linestyle": ":", "color": "0.4"}


class AdaptiveDropout(ScopedCallback):
    """Raises dropout while the model overfits, and lowers it when it does not.

    After each epoch the loss on validation data is compared with that on a fixed part
    of the training data, both in inference mode. The relative gap between the two,
    `(validation - training) / validation`, is smoothed; a `PI` controller compares it
    with `target_gap` and moves the rates of all chosen layers on the logit scale,
    between 0 and `max_rate`. The next step uses the new rates, without a retrace.

    Without its own data it uses that of `fit`: `val_loss`, in epochs with validation,
    and up to 2048 of the training rows, spread evenly over arrays, or the first of a
    dataset.

    A large gap alone does no harm: the training loss of a model that fits well goes to
    0, and the gap to 1. So two guards look at the losses themselves. No rate rises
    while the validation loss falls. And if the training loss has risen above its best
    by a share of the validation loss, dropout keeps the model from fitting, and the
    rates go down.

    It works on `keras_ext.layers.LiveDropout`, and on the `Dropout` and
    `SpatialDropout` layers of existing models, even at rate 0. A file saved at any time
    holds a plain model with the present rates. Dropout inside attention and recurrent
    layers is left alone.

    The validation data, even those of `fit`, steer the training here and are no longer
    unseen: keep other data to judge the model. If no rate closes the gap, the rates
    stay at `max_rate`, and the logs show it.

    Logs `overfit_gap`, the smoothed gap, and `dropout_rate`, the mean rate that the
    next epoch trains with.

    Args:
        train_data: What `LossProbe` takes: `(x, y)`, `(x, y, sample_weight)`, or a
            dataset of batches. Of arrays, as many rows are used as there are in
            `validation_data`. None means rows of the data that `fit` has.
        validation_data: Data that is not trained on, in the same form. None means that
            `fit` has some, and evaluates it.
        target_gap: Number in [0, 1), the gap to aim at. Defaults to `0.3`.
        max_rate: Number in (0, 0.95], the largest rate. Defaults to `0.6`.
        warmup_epochs: Integer >= 0; only measure in these first epochs.
            Defaults to `2`.
        controller: A `keras_ext.controllers.Controller`: an object with `update(gap)`
            that returns the change of the rates on the logit scale. It is not asked if
            the gap is not finite. None means `PI(target_gap)`.
        include: Which layers are moved: a regular expression that is searched in their
            path in the model, such as `"block1/dropout"`, a list of them, or a function
            from layer to bool. None means all.
        exclude: Which are not, in the same form. None means none.
        guards: Whether to also look at the losses themselves, as said above.
            Defaults to `True`.
        min_progress: Number >= 0; the validation loss falls if it does so by this share
            per epoch, over the last four. Defaults to `0.01`.
        max_damage: Number > 0; the share of the validation loss by which the training
            loss may rise above its best. Defaults to `0.05`.
        freeze_after: Number in (0, 1]; the rates stay as they are after this share of
            the epochs that `fit` was asked for. None means that they do not.
        verbose: `1` to print a line at the end with the rates, unless `fit` is told
            `verbose=0`; `0` to be silent. Defaults to `1`.

    Attributes:
        decisions: What was decided in the present or last `fit`: a list with a
            dictionary for each epoch, with `"epoch"`, `"training_loss"`,
            `"validation_loss"`, `"gap"`, `"change"` on the logit scale, `"rate"`, the
            mean rate from then on, and `"reason"`: `"warm-up"`, `"frozen"`,
            `"underfit"`, `"validation improves"` or `"gap"`.
            Epochs that `fit` does not validate are not in it.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if the
            model has no dropout layer to move, or if neither the callback nor
            `fit` has validation data, or, at the end of an epoch, if the controller
            returns no finite number.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x, y = np.random.default_rng(0).normal(size=(2, 40, 8))
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((8,)),
        ...         keras.layers.Dense(64, "relu"),
        ...         keras.layers.Dropout(0.1),
        ...         keras.layers.Dense(8),
        ...     ]
        ... )
        >>> model.compile(keras.optimizers.Adam(0.01), "mse")
        >>> adapt = kx.callbacks.AdaptiveDropout()
        >>> history = model.fit(
        ...     x, y, validation_split=0.25, epochs=12, callbacks=[adapt], verbose=0
        ... )
        >>> model.layers[1].rate > 0.1  # nothing to learn here but noise
        True
    """

    compiled = frozenset(
        {
            "target_gap",
            "max_rate",
            "controller",
            "include",
            "exclude",
            "min_progress",
            "max_damage",
        }
    )
    remembered: ClassVar[tuple[str, ...]] = (
        "decisions",
        "_gap",
        "_last_gap",
        "_controller",
        "_guards",
        "_positions",
        "_highest",
        "_first_rate",
        "_epochs",
    )

    def __init__(  # noqa: PLR0913
        self,
        train_data: Data = None,
        validation_data: Data = None,
        *,
        target_gap: float = 0.3,
        max_rate: float = 0.6,
        warmup_epochs: int = 2,
        controller: Controller | None = None,
        include: Pattern = None,
        exclude: Pattern = None,
        guards: bool = True,
        min_progress: float = 0.01,
        max_damage: float = 0.05,
        freeze_after: float | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        self.verbose = verbosity(verbose)
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        self.target_gap = number(target_gap, "target_gap", low=0, below=1)
        self.max_rate = number(max_rate, "max_rate", above=0, high=0.95)
        self.warmup_epochs = integer(warmup_epochs, "warmup_epochs", low=0)
        self.controller = check_controller(controller)
        self.include = include
        self.exclude = exclude
        self.guards = flag(guards, "guards")
        self.min_progress = number(min_progress, "min_progress", low=0)
        self.max_damage = number(max_damage, "max_damage", above=0)
        self.freeze_after = number(
            freeze_after, "freeze_after", above=0, high=1, optional=True
        )
        self.decisions: list[Record] = []
        self._validation_probe = self._train_probe = None
        rows = None
        if validation_data is not None:
            data = FixedData(validation_data, name="validation_data")
            self._validation_probe, rows = LossProbe(data), data.num_rows
        if train_data is not None:
            data = FixedData(train_data, rows, name="train_data")
            self._train_probe = LossProbe(data)

    def attach(self, scope: FitScope) -> None:
        model = scope.model
        of_keras = {
            k.owner: k
            for k in find_hyperparameters(model)
            if isinstance(k.owner, Dropout)
        }
        paths = layer_paths(model)
        known = {x: paths[x] for x in paths if _has_rate(x, of_keras)}
        names = [path for layer, path in paths.items() if layer is not model]
        expected = "one with a Dropout, SpatialDropout or LiveDropout layer"
        require(bool(known), "model", names, expected)
        # In the order of the model.
        self._paths = {
            layer: path
            for layer, path in known.items()
            if is_selected(layer, self.include, self.exclude, path)
        }
        require_some(
            self._paths, self.include, self.exclude, what="layer", paths=known.values()
        )
        chosen = [of_keras[layer] for layer in self._paths if layer in of_keras]
        live_rates = iter(scope.make_live(chosen, self))
        self._rates: list[HyperVariable] = [
            next(live_rates) if layer in of_keras else layer.rate
            for layer in self._paths
        ]
        for rate, path in zip(self._rates, self._paths.values(), strict=True):
            scope.claim(rate, joined(path, rate.name), self)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._find_data()
        self._training.prepare(self.model, name="train_data")
        if self._validation_probe is not None:
            self._validation_probe.prepare(self.model, name="validation_data")
        self._gap = OverfitGap()
        self._last_gap = math.nan
        self._controller = deepcopy(self.controller) or PI(self.target_gap)
        self._guards = OverfitGuards(self.min_progress, self.max_damage)
        self.decisions = []
        self._epochs = 0
        self._first_rate = self._mean_rate()
        self._positions = [_logit(max(_SMALLEST_RATE, float(x))) for x in self._rates]
        # A rate that starts above the largest one may stay there.
        self._highest = [max(_logit(self.max_rate), p) for p in self._positions]

    def _find_data(self) -> None:
        data = DataOfFit(self.model)
        # In a loop without `fit`, that there is a validation loss will be seen.
        if self._validation_probe is None and data.is_known:
            data.require_validation()
        # Of each `fit` its own.
        self._training = self._train_probe or LossProbe(data.training_rows())

    def kind_of_state(self) -> Record:
        return {"layers": len(self._rates)}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        validation_loss = self._validation_loss(logs or {})
        if validation_loss is not None:
            self._adapt(epoch, validation_loss)
        self._epochs += 1
        if logs is not None:
            logs["overfit_gap"] = self._last_gap
            logs["dropout_rate"] = self._mean_rate()

    def on_train_end(self, logs: Logs = None) -> None:
        if self.decisions:
            tell(self, self._summary())
        super().on_train_end(logs)

    def _summary(self) -> str:
        changes = [row["change"] for row in self.decisions]
        ups, downs = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
        rates = f"{self._first_rate:.2f} -> {self._mean_rate():.2f}"
        return f"mean dropout rate {rates}; raised in {ups} epochs, lowered in {downs}"

    def plot(self) -> Figure:
        """Draws the losses, the gap and the mean rate over the epochs.

        Returns:
            A figure of Matplotlib, which pyplot does not keep open.

        Raises:
            ValueError: If nothing was decided yet.
            ImportError: If Matplotlib is not installed.
        """
        hint = "Nothing was decided: pass the callback to a `fit` first."
        decided = bool(self.decisions)
        require(decided, "decisions", [], "those of an epoch or more", hint)
        epochs = [row["epoch"] + 1 for row in self.decisions]

        def curve(name: str, label: str | None = None) -> Curve:
            return Curve(epochs, [row[name] for row in self.decisions], label)

        losses = [curve(f"{kind}_loss", kind) for kind in ("training", "validation")]
        target = Curve(epochs, [self.target_gap] * len(epochs), "target", _DOTTED)
        gaps = [curve("gap"), *([] if self.controller is not None else [target])]
        rates = Curve(epochs, [row["rate"] for row in self.decisions])
        return draw_panels(
            {"loss, without dropout": losses, "gap": gaps, "mean dropout rate": [rates]}
        )

    def _mean_rate(self) -> float:
        return float(np.mean([float(rate) for rate in self._rates]))

    def _adapt(self, epoch: int, validation_loss: float) -> None:
        training_loss = self._training.measure(self.model)
        gap = self._gap.update(training_loss, validation_loss)
        change, reason = self._decide(epoch, gap, training_loss, validation_loss)
        if reason not in ("warm-up", "frozen"):
            self._move(change)
        self.decisions.append(
            {
                "epoch": epoch,
                "training_loss": training_loss,
                "validation_loss": validation_loss,
                "gap": gap,
                "change": change,
                "reason": reason,
                "rate": self._mean_rate(),
            }
        )
        self._last_gap = gap

    def _validation_loss(self, logs: Record) -> float | None:
        """None if `fit` has not validated in this epoch, as `validation_freq` says."""
        if self._validation_probe is not None:
            return self._validation_probe.measure(self.model)
        if "val_loss" not in logs and not DataOfFit(self.model).is_known:
            expected = "data, or `val_loss` in the logs of a loop without `fit`"
            require(False, "validation_data", None, expected)
        return float(logs["val_loss"]) if "val_loss" in logs else None

    def _decide(
        self, epoch: int, gap: float, training_loss: float, validation_loss: float
    ) -> tuple[float, str]:
        """The change of the rates on the logit scale, and the reason."""
        warming_up = len(self.decisions) < self.warmup_epochs
        change = 0.0 if warming_up else change_by(self._controller, gap)
        # They look on while it warms up, to know how the losses were.
        guarded, reason = self._guards.admitted(change, training_loss, validation_loss)
        if warming_up:
            return 0.0, "warm-up"
        if self.freeze_after is not None:
            # Of this `fit` alone: it may begin at an `initial_epoch`.
            epochs = (self.params.get("epochs") or math.inf) - (epoch - self._epochs)
            if self._epochs + 1 > self.freeze_after * epochs:
                return 0.0, "frozen"
        return (guarded, reason or "gap") if self.guards else (change, "gap")

    def _move(self, change: float) -> None:
        lowest = _logit(_SMALLEST_RATE)
        for i, rate in enumerate(self._rates):
            position = self._positions[i] + change
            position = min(max(position, lowest), self._highest[i])
            # Kept, and not read back: a rate of 0 has no logit.
            self._positions[i] = position
            if position > lowest:
                rate.assign_on_scale(position)
            else:
                rate.assign(0.0)


def _logit(rate: float) -> float:
    return math.log(rate / (1.0 - rate))


def _has_rate(layer: keras.Layer, of_keras: Collection[keras.Layer]) -> bool:
    return layer in of_keras or isinstance(layer, layers.LiveDropout)
