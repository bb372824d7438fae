"""Moves dropout rates by the measured overfitting gap."""

import math
from copy import deepcopy
from typing import Any

import keras
import numpy as np
from keras.layers import Dropout

from keras_ext import layers
from keras_ext.callbacks._copyable_callback import CopyableCallback
from keras_ext.controllers._pi import PI
from keras_ext.core._checks import is_integer, is_number, require
from keras_ext.core._hyper_variable import HyperVariable
from keras_ext.core._knobs import knobs
from keras_ext.core._make_live import make_plain, make_temporarily_live
from keras_ext.core._pattern import check_pattern, is_selected
from keras_ext.core._sublayers import sublayers
from keras_ext.core._typing import Logs, Pattern
from keras_ext.signals._loss_probe import LossProbe
from keras_ext.signals._overfit_gap import OverfitGap

# Below this rate, dropout is off; a logit cannot reach 0.
_SMALLEST_RATE = 0.01


class AdaptiveDropout(CopyableCallback):
    """Raises dropout while the model overfits, and lowers it when it does not.

    After each epoch the loss is measured on a fixed part of the training data and on
    validation data, both in inference mode. The relative gap between the two,
    `(validation - training) / validation`, is smoothed; a `PI` controller compares it
    with `target_gap` and moves the rates of all chosen layers by the same amount on the
    logit scale, between 0 and `max_rate`. The next step uses the new rates, without a
    retrace.

    It works on `keras_ext.layers.AdaptiveDropout`, and on the `Dropout` and
    `SpatialDropout` layers of models that already exist, also those at rate 0. The
    model, saved at any time, is a plain one with the present rates. Dropout inside
    attention and recurrent layers is left alone.

    The validation data steers the training here: keep other data to judge the model. If
    no rate closes the gap, the rates stay at `max_rate`, and the logs show it.

    Logs `overfit_gap`, the smoothed gap, and `dropout_rate`, the mean rate that the
    next epoch trains with.

    Args:
        train_data: What `LossProbe` takes: `(x, y)`, `(x, y, sample_weight)`, or a
            dataset of batches. Of arrays, as many rows are used as there are in
            `validation_data`.
        validation_data: Data that is not trained on, in the same form.
        target_gap: Number in [0, 1), the gap to aim at. Defaults to `0.1`.
        max_rate: Number in (0, 0.95], the largest rate. Defaults to `0.6`.
        warmup_epochs: Integer >= 0; only measure in so many epochs first.
            Defaults to `2`.
        controller: Object with `update(gap)` that returns the change of the rates on
            the logit scale. None means `PI(target_gap)`.
        include: Which layers are moved: a regular expression that is searched in
            `layer.path`, a list of them, or a function from layer to bool. None means
            all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is out of range or data is missing, or, when training
            begins, if the model has no dropout layer that is meant.

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
        >>> adapt = kx.callbacks.AdaptiveDropout((x[:30], y[:30]), (x[30:], y[30:]))
        >>> history = model.fit(x[:30], y[:30], epochs=20, callbacks=[adapt], verbose=0)
        >>> model.layers[1].rate > 0.1  # nothing to learn here but noise
        True
    """

    def __init__(
        self,
        train_data: Any,
        validation_data: Any,
        target_gap: float = 0.1,
        max_rate: float = 0.6,
        warmup_epochs: int = 2,
        controller: Any = None,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__()
        for name, data in (
            ("train_data", train_data),
            ("validation_data", validation_data),
        ):
            hint = "The gap between training and validation loss cannot be measured."
            require(data is not None, name, data, "data, not None", hint)
        require(
            is_number(target_gap) and 0 <= target_gap < 1,
            "target_gap",
            target_gap,
            "a number in [0, 1)",
        )
        require(
            is_number(max_rate) and 0 < max_rate <= 0.95,
            "max_rate",
            max_rate,
            "a number in (0, 0.95]",
        )
        require(
            is_integer(warmup_epochs) and warmup_epochs >= 0,
            "warmup_epochs",
            warmup_epochs,
            "an integer >= 0",
        )
        require(
            controller is None or callable(getattr(controller, "update", None)),
            "controller",
            controller,
            "an object with an update method, or None",
        )
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        self.target_gap = target_gap
        self.max_rate = max_rate
        self.warmup_epochs = warmup_epochs
        self.controller = controller
        self.include = include
        self.exclude = exclude
        self._validation_probe = LossProbe(validation_data)
        self._train_probe = LossProbe(train_data, self._validation_probe.num_rows)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        # What a `fit` that was interrupted has left behind.
        make_plain(model)
        every = [knob for knob in knobs(model) if isinstance(knob.owner, Dropout)]
        live = [x for x in sublayers(model) if isinstance(x, layers.AdaptiveDropout)]
        chosen = [k for k in every if is_selected(k.owner, self.include, self.exclude)]
        chosen_live = [x for x in live if is_selected(x, self.include, self.exclude)]
        require(
            bool(chosen or chosen_live),
            "model",
            [layer.path for layer in [*(knob.owner for knob in every), *live]],
            "one with a Dropout, SpatialDropout or AdaptiveDropout layer that is "
            "included and not excluded",
        )
        self._rates: list[HyperVariable] = [*make_temporarily_live(model, chosen)]
        self._rates += [layer.rate for layer in chosen_live]

    def on_train_begin(self, logs: Logs = None) -> None:
        self._gap = OverfitGap()
        self._controller = deepcopy(self.controller) or PI(self.target_gap)
        self._epochs = 0
        self._positions = [_logit(max(_SMALLEST_RATE, float(x))) for x in self._rates]
        # A rate that starts above the largest one may stay there.
        self._highest = [max(_logit(self.max_rate), p) for p in self._positions]

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        gap = self._gap.update(
            training_loss=self._train_probe.measure(self.model),
            validation_loss=self._validation_probe.measure(self.model),
        )
        self._epochs += 1
        if self._epochs > self.warmup_epochs:
            self._move(self._controller.update(gap))
        if logs is not None:
            logs["overfit_gap"] = gap
            logs["dropout_rate"] = float(np.mean([float(x) for x in self._rates]))

    def _move(self, change: float) -> None:
        lowest = _logit(_SMALLEST_RATE)
        for i, rate in enumerate(self._rates):
            position = min(max(self._positions[i] + change, lowest), self._highest[i])
            self._positions[i] = position
            if position > lowest:
                rate.assign_on_scale(position)
            else:
                rate.assign(0.0)

    def on_train_end(self, logs: Logs = None) -> None:
        make_plain(self.model)


def _logit(rate: float) -> float:
    return math.log(rate / (1.0 - rate))
