"""One controller over all that regularizes a model."""

from collections.abc import Collection
from copy import deepcopy
from typing import ClassVar

import keras
import numpy as np

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._core._checks import choice, integer, number, require
from keras_ext._core._pattern import check_pattern, is_selected, require_some
from keras_ext._core._typing import Data, Figure, Logs, Pattern, Record
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._live._find_hyperparameters import find_hyperparameters
from keras_ext._live._hyperparameter import Hyperparameter
from keras_ext._live._regularization_knobs import RegularizationKnobs, regularizes
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.callbacks.regularization._data_of_fit import data_or_that_of_fit
from keras_ext.callbacks.regularization._regularization_plot import draw
from keras_ext.callbacks.regularization._regularization_report import report, summary
from keras_ext.callbacks.regularization._rules import (
    ByGap,
    ByHypergradient,
    ByPopulation,
    RegularizationRule,
    Sensed,
)
from keras_ext.controllers._controller import Controller, check_controller
from keras_ext.controllers.continuous._pi import PI
from keras_ext.signals.losses._loss_probe import LossProbe
from keras_ext.signals.losses._overfit_gap import OverfitGap

_DATA = ("train_data", "validation_data")
RULES = ("hypergradient", "gap", "population")


class AdaptiveRegularization(ScopedCallback):
    """Makes all regularization of a model stronger or weaker while it trains.

    It finds whatever regularizes an existing model: the rates of dropout layers, also
    in attention and recurrent layers, the deviation of `GaussianNoise`, the strengths
    of `L1`, `L2` and orthogonal regularizers, the weight decay of the optimizer, and
    the label smoothing of the loss. Each is moved by an offset from its own first value
    on its scale (the logarithm of strengths and the logit of rates). An offset of 1 is
    2.7 times the weight decay, or 2.7 times the odds of dropping. What begins at 0 can
    be raised too.

    After each epoch the loss is measured on a fixed part of the training data and on
    validation data, in inference mode, without the moved penalties and label smoothing,
    which would hide their own effect. Without its own data it uses that of `fit`: up to
    2048 rows each of the training and validation data, spread evenly over arrays, or
    the first of a dataset. The `rule` decides what happens then:

    - `"hypergradient"` moves each on its own, down the gradient of the validation loss
      after one more step of training, by `Hypergradient`: in closed form for penalties,
      label smoothing and weight decay, and by random perturbations for rates and noise.
      In each epoch it costs a gradient on the validation data, and on the training data
      two for each penalty and for label smoothing, and eight for all rates together. It
      looks one step ahead only, at a step of SGD or of Adam as it is at that time; of
      other optimizers and of gradient transforms it knows nothing but the learning
      rate.
    - `"gap"` moves all by one number, the strength, as a `controller` says that is
      told the smoothed relative gap, `(validation - training) / validation`. It does
      so within the guards of `AdaptiveDropout`: no increase while the validation loss
      falls, and a decrease when the training loss shows that the model is kept from
      fitting. With the default controller, a `PI` that brings the gap to
      `target_gap`, it lost to doing nothing in the study where a model overfitted.
    - `"population"` trains `members` copies of the model, an epoch each in turn, that
      begin with the same weights and with different values. After each round the worst
      goes on with the weights and, changed a little, the values of the best, by
      `PopulationBased`. It needs `members` times the epochs, and as many copies of
      weights and optimizer state in memory. The best is left behind.

    The momentum of batch normalization is not moved: it has no influence on the
    training, and `report` only names it. The validation data, even those of `fit`,
    steer the training and are no longer unseen: keep other data to judge the model.

    Logs `overfit_gap`, `regularization_strength`, the mean offset, and each
    hyperparameter under its path, with the values that the next epoch trains with. At
    the end of `fit` the model is a plain one with the last values, or those of the best
    member.

    Args:
        train_data: What `LossProbe` takes: `(x, y)`, `(x, y, sample_weight)`, or a
            dataset of batches. Of arrays, as many rows are used as there are in
            `validation_data`. None means rows of the data that `fit` has.
        validation_data: Data that is not trained on, in the same form. None means rows
            of the data that `fit` validates with.
        include: Which hyperparameters, as in `keras_ext.make_live`: a regular
            expression that is searched in the path, a list of them, or a function. None
            means all of the above.
        exclude: Which not, in the same form. None means none.
        target_gap: Number in [0, 1), the gap that `PI` aims at, for `"gap"`.
            Defaults to `0.3`.
        span: Number > 0; the offsets stay between minus this and this. Rates stay
            below 0.6, and label smoothing below 0.3, unless they began above.
            Defaults to `4.0`.
        warmup_epochs: Integer >= 0; only measure in these first epochs. In a
            population they count for each member. Defaults to `2`.
        rule: `"hypergradient"`, `"gap"` or `"population"`. None means `"gap"` if there
            is a controller, else `"hypergradient"`.
        controller: For `"gap"`, a `keras_ext.controllers.Controller`: an object with
            `update(gap)` that returns the change of the strength. It is not asked if
            the gap is not finite. None means `PI(target_gap)`.
        members: Integer >= 2, the size of the population. Defaults to `4`.
        seed: Integer, the seed of what is drawn at random. None means random.
        verbose: `1` to print a line at the end with what was changed most, unless `fit`
            is told `verbose=0`; `0` to be silent. Defaults to `1`.

    Attributes:
        decisions: What was decided in the present or last `fit`: a list with a
            dictionary for each epoch, with `"epoch"`, `"training_loss"`,
            `"validation_loss"`, `"gap"`, `"change"` of the strength, `"reason"`,
            `"note"`, `"strength"`, and `"values"`, a dictionary from path to value;
            further `"slopes"`, the gradient by path, `"reward"`, or `"member"` and
            `"next_member"`.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if
            nothing to move regularizes the model, or if neither the callback nor
            `fit` has validation data, or, at the end of an epoch, if the controller
            returns no finite number.

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
        >>> adapt = kx.callbacks.AdaptiveRegularization(seed=0)
        >>> history = model.fit(
        ...     x, y, validation_split=0.25, epochs=10, callbacks=[adapt], verbose=0
        ... )
        >>> list(adapt.decisions[-1]["values"])
        ['h/kernel_regularizer/l2', 'dropout/rate', 'optimizer/weight_decay']
        >>> dropout.rate == adapt.decisions[-1]["values"]["dropout/rate"]
        True
        >>> print(adapt.report().splitlines()[0])
        epoch 0: gap ...; warm-up; strength +0.00
    """

    compiled = frozenset(
        {
            "train_data",
            "validation_data",
            "include",
            "exclude",
            "target_gap",
            "span",
            "rule",
            "controller",
            "members",
            "seed",
        }
    )
    remembered: ClassVar[tuple[str, ...]] = (
        "decisions",
        "_gap",
        "_rule",
        "_knobs",
        "_first_values",
    )

    def __init__(  # noqa: PLR0913
        self,
        train_data: Data = None,
        validation_data: Data = None,
        *,
        include: Pattern = None,
        exclude: Pattern = None,
        target_gap: float = 0.3,
        span: float = 4.0,
        warmup_epochs: int = 2,
        rule: str | None = None,
        controller: Controller | None = None,
        members: int = 4,
        seed: int | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        self.verbose = verbosity(verbose)
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        self.include = include
        self.exclude = exclude
        self.target_gap = number(target_gap, "target_gap", low=0, below=1)
        self.span = number(span, "span", above=0)
        self.warmup_epochs = integer(warmup_epochs, "warmup_epochs", low=0)
        self.controller = check_controller(controller)
        if rule is None:
            rule = "hypergradient" if controller is None else "gap"
        self.rule = choice(rule, "rule", RULES)
        hint = "The others have controllers of their own."
        fits = controller is None or rule == "gap"
        require(fits, "rule", rule, '"gap", if there is a controller', hint)
        self.members = integer(members, "members", low=2)
        self.seed = integer(seed, "seed", optional=True)
        rows = None
        if validation_data is not None:
            rows = FixedData(validation_data, name="validation_data").num_rows
        if train_data is not None:
            FixedData(train_data, rows, name="train_data")
        self.train_data = train_data
        self.validation_data = validation_data
        self.decisions: list[Record] = []
        self._first_values: dict[str, float] = {}
        self._not_moved: dict[str, float] = {}

    def attach(self, scope: FitScope) -> None:
        found = list(find_hyperparameters(scope.model))
        every = [knob for knob in found if regularizes(knob)]
        paths = [knob.path for knob in every]
        others = [knob.path for knob in found]
        expected = "one with something that regularizes it"
        require(bool(every), "model", others, expected)
        chosen = [k for k in every if is_selected(k, self.include, self.exclude)]
        what = "hyperparameter"
        require_some(chosen, self.include, self.exclude, what=what, paths=paths)
        live = scope.make_live(chosen, self)
        self._knobs = RegularizationKnobs(chosen, live, self.span)
        self._not_moved = {k.path: float(k.value) for k in found if _rests(k, chosen)}

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        training, validation = data_or_that_of_fit(
            self.model, self.train_data, self.validation_data
        )
        # They are traced with the live values of this `fit`.
        self._probes = LossProbe(training), LossProbe(validation)
        for probe, name in zip(self._probes, _DATA, strict=True):
            probe.prepare(self.model, name=name)
        self._rule = self._make_rule(training, validation)
        self._gap = OverfitGap(self._rule.smoothing)
        self._first_values = self._knobs.values()
        self._rule.begin(self.model, self._knobs)
        self.decisions = []

    def _make_rule(
        self, training: FixedData, validation: FixedData
    ) -> RegularizationRule:
        if self.rule == "hypergradient":
            return ByHypergradient(training, validation, seed=self.seed)
        if self.rule == "population":
            return ByPopulation(
                self.members, self.warmup_epochs, seed=self.seed, data=validation
            )
        return ByGap(deepcopy(self.controller) or PI(self.target_gap))

    def kind_of_state(self) -> Record:
        kind: Record = {"rule": self.rule, "hyperparameters": len(self._knobs.live)}
        return kind | ({"members": self.members} if self.rule == "population" else {})

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._rule.before_epoch()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        training_loss, validation_loss = self._measure()
        gap = self._gap.update(training_loss, validation_loss)
        warming_up = len(self.decisions) < self.warmup_epochs
        before = float(np.mean(self._knobs.offsets))
        decision = self._rule.decide(
            Sensed(training_loss, validation_loss, gap, warming_up)
        )
        if decision.offsets is not None:
            self._knobs.to(decision.offsets)
        strength = float(np.mean(self._knobs.offsets))
        values = self._knobs.values()
        self.decisions.append(
            {
                "epoch": epoch,
                "training_loss": training_loss,
                "validation_loss": validation_loss,
                "gap": gap,
                "change": strength - before,
                "reason": decision.reason,
                "note": decision.note,
                "strength": strength,
                "values": values,
                **decision.details,
            }
        )
        if logs is not None:
            logs.update(overfit_gap=gap, regularization_strength=strength, **values)

    def _measure(self) -> tuple[float, float]:
        """The losses on training and validation data, without regularization."""
        with_penalties = self._knobs.values()
        try:
            self._knobs.take_out_of_the_loss()
            training, validation = (probe.measure(self.model) for probe in self._probes)
        finally:
            self._knobs.assign(with_penalties)
        return training, validation

    def on_train_end(self, logs: Logs = None) -> None:
        self._rule.end()
        if self.decisions:
            tell(self, summary(self._first_values, self._knobs.values()))
        super().on_train_end(logs)

    def report(self) -> str:
        """Returns in words what was sensed, what was decided, and what changed.

        Returns:
            The text, one line for each epoch, with the values where they changed, and a
            last one with what is not moved, if there is anything.
        """
        return report(self.decisions, self._first_values, self._not_moved)

    def plot(self) -> Figure:
        """Draws the losses, the gap and all hyperparameters over the epochs.

        Returns:
            A `matplotlib.figure.Figure`, which pyplot does not keep open.

        Raises:
            ValueError: If nothing was decided yet.
        """
        hint = "Nothing was decided: pass the callback to a `fit` before."
        require(
            bool(self.decisions), "decisions", [], "those of an epoch or more", hint
        )
        return draw(self.decisions)


def _rests(knob: Hyperparameter, chosen: Collection[Hyperparameter]) -> bool:
    """Whether it could be taken for regularization that is moved, but is not."""
    momentum = isinstance(knob.owner, keras.layers.BatchNormalization)
    return (regularizes(knob) and knob not in chosen) or momentum
