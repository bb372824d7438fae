"""One controller over all that regularizes a model."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_ext.callbacks._copyable_callback import CopyableCallback
from keras_ext.callbacks._overfit_guards import OverfitGuards
from keras_ext.callbacks._regularization_plot import draw
from keras_ext.controllers._pi import PI
from keras_ext.core._checks import is_integer, is_number, require
from keras_ext.core._extras import import_extra
from keras_ext.core._fixed_data import FixedData
from keras_ext.core._hyper_variable import HyperVariable, unique_path
from keras_ext.core._knobs import Knob, knobs
from keras_ext.core._make_live import make_plain, make_temporarily_live
from keras_ext.core._pattern import check_pattern, is_selected
from keras_ext.core._typing import Logs, Pattern
from keras_ext.signals._loss_probe import LossProbe
from keras_ext.signals._overfit_gap import OverfitGap

# Of each kind of hyperparameter, by the last part of its path: the smallest value that
# is not taken for 0, and the largest, None being as far as the span goes. They are on
# a log or logit scale, which never comes to 0.
_RATE = (0.01, 0.6)
_STRENGTH = (1e-7, None)
_LIMITS: dict[str, tuple[float, float | None]] = {
    **dict.fromkeys(("rate", "dropout", "recurrent_dropout"), _RATE),
    **dict.fromkeys(("l1", "l2", "factor", "weight_decay"), _STRENGTH),
    "stddev": (0.01, None),
    "label_smoothing": (0.005, 0.3),
}
# What is a part of the loss itself, and has to be out of it when it is measured.
_IN_THE_LOSS = ("l1", "l2", "factor", "label_smoothing")


class AdaptiveRegularization(CopyableCallback):
    """Makes all regularization of a model stronger or weaker, by one controller.

    It finds what regularizes a model that exists: the rates of dropout layers, also in
    attention and recurrent layers, the deviation of `GaussianNoise`, the strengths of
    `L1`, `L2` and orthogonal regularizers, the weight decay of the optimizer, and the
    label smoothing of the loss. All of them follow one number, the *strength*, which
    begins at 0: each is moved by it from its own first value on its scale (the
    logarithm of strengths and the logit of rates). Strength 1 so is 2.7 times the
    weight decay, and with it 2.7 times the odds of dropping. What begins at 0 can be
    raised too.

    After each epoch the loss is measured on a fixed part of the training data and on
    validation data, in inference mode, without penalties and label smoothing, which
    would hide their own effect. A `PI` controller then moves the strength so that the
    smoothed relative gap, `(validation - training) / validation`, comes to
    `target_gap`, within the guards of `AdaptiveDropout`: no increase while the
    validation loss falls, and a decrease when the training loss shows that the model is
    kept from fitting.

    The momentum of batch normalization is not among them: it has no influence on the
    training. The validation data steers the training: keep other data to judge the
    model.

    Logs `overfit_gap`, `regularization_strength`, and each hyperparameter under its
    path, with the values that the next epoch trains with. At the end of `fit` the model
    is a plain one with the last values.

    Args:
        train_data: What `LossProbe` takes: `(x, y)`, `(x, y, sample_weight)`, or a
            dataset of batches. Of arrays, as many rows are used as there are in
            `validation_data`.
        validation_data: Data that is not trained on, in the same form.
        include: Which hyperparameters, as in `keras_ext.core.make_live`: a regular
            expression that is searched in the path, a list of them, or a function. None
            means all of the above.
        exclude: Which not, in the same form. None means none.
        target_gap: Number in [0, 1), the gap to aim at. Defaults to `0.3`.
        span: Number > 0; the strength stays between minus this and this. Rates stay
            below 0.6, and label smoothing below 0.3, unless they began above.
            Defaults to `4.0`.
        warmup_epochs: Integer >= 0; only measure in so many epochs first.
            Defaults to `2`.

    Attributes:
        decisions: What was decided in the present or last `fit`: a list with a
            dictionary for each epoch, with `"epoch"`, `"training_loss"`,
            `"validation_loss"`, `"gap"`, `"change"` of the strength, `"reason"`,
            `"strength"`, and `"values"`, a dictionary from path to value.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if
            nothing that is meant regularizes the model.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x, y = np.random.default_rng(0).normal(size=(2, 40, 8))
        >>> l2 = keras.regularizers.L2(1e-4)
        >>> hidden = keras.layers.Dense(64, "relu", kernel_regularizer=l2, name="h")
        >>> dropout = keras.layers.Dropout(0.1, name="dropout")
        >>> model = keras.Sequential(
        ...     [keras.Input((8,)), hidden, dropout, keras.layers.Dense(8)]
        ... )
        >>> model.compile(keras.optimizers.AdamW(0.01), "mse")
        >>> adapt = kx.callbacks.AdaptiveRegularization(
        ...     (x[:30], y[:30]), (x[30:], y[30:])
        ... )
        >>> history = model.fit(x[:30], y[:30], epochs=20, callbacks=[adapt], verbose=0)
        >>> list(adapt.decisions[-1]["values"])
        ['h/kernel_regularizer/l2', 'dropout/rate', 'optimizer/weight_decay']
        >>> dropout.rate > 0.1  # nothing to learn here but noise
        True
        >>> print(adapt.report().splitlines()[0])
        epoch 0: gap ...; warm-up; strength +0.00
    """

    def __init__(
        self,
        train_data: Any,
        validation_data: Any,
        include: Pattern = None,
        exclude: Pattern = None,
        target_gap: float = 0.3,
        span: float = 4.0,
        warmup_epochs: int = 2,
    ) -> None:
        super().__init__()
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        require(
            is_number(target_gap) and 0 <= target_gap < 1,
            "target_gap",
            target_gap,
            "a number in [0, 1)",
        )
        require(is_number(span) and span > 0, "span", span, "a number > 0")
        require(
            is_integer(warmup_epochs) and warmup_epochs >= 0,
            "warmup_epochs",
            warmup_epochs,
            "an integer >= 0",
        )
        rows = FixedData(validation_data, name="validation_data").num_rows
        FixedData(train_data, rows, name="train_data")
        self.train_data = train_data
        self.validation_data = validation_data
        self.include = include
        self.exclude = exclude
        self.target_gap = target_gap
        self.span = span
        self.warmup_epochs = warmup_epochs
        self.decisions: list[dict[str, Any]] = []

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        every = [knob for knob in knobs(model) if _kind(knob) in _LIMITS]
        chosen = [k for k in every if is_selected(k, self.include, self.exclude)]
        require(
            bool(chosen),
            "model",
            [knob.path for knob in every],
            "one with regularization that is included and not excluded",
        )
        self._moved = _Moved(chosen, make_temporarily_live(model, chosen))

    def on_train_begin(self, logs: Logs = None) -> None:
        # They are traced with the live values of this `fit`.
        validation = LossProbe(self.validation_data)
        self._probes = LossProbe(self.train_data, validation.num_rows), validation
        self._gap = OverfitGap()
        self._strength = 0.0
        self._controller = PI(self.target_gap)
        self._guards = OverfitGuards(min_progress=0.01, max_damage=0.05)
        self.decisions = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        training_loss, validation_loss = self._measure()
        gap = self._gap.update(training_loss, validation_loss)
        before = self._strength
        warming_up = len(self.decisions) < self.warmup_epochs
        change = 0.0 if warming_up else self._controller.update(gap)
        change, reason = self._guards.admitted(change, training_loss, validation_loss)
        if warming_up:
            reason = "warm-up"
        else:
            self._strength = min(max(before + change, -self.span), self.span)
            self._moved.to(self._strength)
        values = self._moved.values()
        self.decisions.append(
            {
                "epoch": epoch,
                "training_loss": training_loss,
                "validation_loss": validation_loss,
                "gap": gap,
                "change": self._strength - before,
                "reason": reason or "gap",
                "strength": self._strength,
                "values": values,
            }
        )
        if logs is not None:
            logs.update(
                overfit_gap=gap, regularization_strength=self._strength, **values
            )

    def _measure(self) -> tuple[float, float]:
        """The losses on training and validation data, without regularization."""
        with_penalties = self._moved.values()
        self._moved.take_out_of_the_loss()
        training, validation = (probe.measure(self.model) for probe in self._probes)
        self._moved.assign(with_penalties)
        return training, validation

    def on_train_end(self, logs: Logs = None) -> None:
        make_plain(self.model)

    def report(self) -> str:
        """Returns in words what was sensed, what was decided, and what changed.

        Returns:
            The text, one line for each epoch, with the values where they changed.
        """
        lines = []
        for row in self.decisions:
            training, validation = row["training_loss"], row["validation_loss"]
            line = (
                f"epoch {row['epoch']}: gap {row['gap']:.2f} (training {training:.4g}, "
                f"validation {validation:.4g}); {row['reason']}; "
                f"strength {row['strength']:+.2f}"
            )
            if row["change"] != 0:
                values = (
                    f"{path} {value:.3g}" for path, value in row["values"].items()
                )
                line += f" ({row['change']:+.2f}): {', '.join(values)}"
            lines.append(line)
        return "\n".join(lines)

    def plot(self) -> Any:
        """Draws the losses, the gap and all hyperparameters over the epochs.

        Returns:
            A `matplotlib.figure.Figure`.
        """
        return draw(import_extra("matplotlib.pyplot", "examples"), self.decisions)


class _Moved:
    """Hyperparameters that follow one strength."""

    def __init__(self, chosen: Sequence[Knob], live: Sequence[HyperVariable]) -> None:
        self._live: dict[str, HyperVariable] = {}
        self._kinds: dict[str, str] = {}
        for knob, value in zip(chosen, live, strict=True):
            path = unique_path(knob.path, self._live)
            self._live[path] = value
            self._kinds[path] = _kind(knob)
        self._first = {path: self._position(path) for path in self._live}

    def _position(self, path: str) -> float:
        smallest, _ = _LIMITS[self._kinds[path]]
        live = self._live[path]
        return _on_scale(max(float(live), smallest), live.scale)

    def to(self, strength: float) -> None:
        """Moves each from its first place by the strength."""
        for path, live in self._live.items():
            low, high = _LIMITS[self._kinds[path]]
            position = self._first[path] + strength
            if high is not None:
                highest = max(_on_scale(high, live.scale), self._first[path])
                position = min(position, highest)
            if position > _on_scale(low, live.scale):
                live.assign_on_scale(position)
            else:
                live.assign(0.0)

    def values(self) -> dict[str, float]:
        return {path: float(live) for path, live in self._live.items()}

    def assign(self, values: dict[str, float]) -> None:
        for path, value in values.items():
            self._live[path].assign(value)

    def take_out_of_the_loss(self) -> None:
        for path, live in self._live.items():
            if self._kinds[path] in _IN_THE_LOSS:
                live.assign(0.0)


def _kind(knob: Knob) -> str:
    return knob.path.rpartition("/")[2]


def _on_scale(value: float, scale: str) -> float:
    return math.log(value) if scale == "log" else math.log(value / (1.0 - value))
