"""Chooses the learning rate when training begins."""

import math

import keras
import numpy as np
from keras import ops

from keras_ext._core._checks import choice, integer, number, require
from keras_ext._core._typing import Data, Logs, Record
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext._keras._learning_rate import own_learning_rate
from keras_ext._keras._model_runs import arguments_of_fit, watch_runs_of_models
from keras_ext._keras._optimizer_family import stepping_optimizer
from keras_ext.callbacks._announcement import shows_progress, tell, verbosity
from keras_ext.diagnostics._find_learning_rate import LearningRates, find_learning_rate
from keras_ext.diagnostics._learning_rate_rules import RULES

# At import: the first callback may be made within the call of `fit` that it is for.
watch_runs_of_models()


class LearningRateFinder(CopyableCallback):
    """Chooses the learning rate when `fit` begins, by a range test.

    The model trains for some steps with rising rates on the data of `fit` and is then
    restored, see `keras_ext.diagnostics.find_learning_rate`. The optimizer gets the
    rate that a rule suggests, and keeps it. A training that resumes after it was killed
    keeps the rate that it had.

    Logs `learning_rate`.

    Args:
        train_data: `(x, y)` or `(x, y, sample_weight)`, or a dataset of batches. None
            means the data of `fit`.
        rule: `"valley"`, `"steepest"`, `"minimum"` or `"slide"`.
            Defaults to `"valley"`.
        low: Number > 0, the first rate of the test. Defaults to `1e-07`.
        high: Number > 0, the last one. Defaults to `10.0`.
        steps: Integer >= 20, how many rates are tried. Defaults to `100`.
        verbose: `1` to print a line with the rate, unless `fit` is told `verbose=0`;
            `0` to be silent. Defaults to `1`.

    Attributes:
        result: What was found in the last `fit`, with `suggestions` and `plot()`.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if the
            optimizer has a schedule in place of a number, or several learning rates, or
            if the data of `fit` cannot be read a second time.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(100, 8))
        >>> finder = kx.callbacks.LearningRateFinder()
        >>> history = model.fit(x, x[:, :1], callbacks=[finder], verbose=0)
        >>> rate = float(model.optimizer.learning_rate)
        >>> bool(np.isclose(rate, finder.result.suggestions["valley"]))
        True
    """

    def __init__(
        self,
        train_data: Data = None,
        *,
        rule: str = "valley",
        low: float = 1e-7,
        high: float = 10.0,
        steps: int = 100,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        self.verbose = verbosity(verbose)
        is_data = isinstance(train_data, tuple | list) and len(train_data) in (2, 3)
        is_data = is_data or hasattr(train_data, "element_spec")
        is_data = is_data or hasattr(train_data, "plain_data")
        expected = "(x, y), (x, y, sample_weight), a tf.data.Dataset or None"
        require(train_data is None or is_data, "train_data", train_data, expected)
        self.train_data = train_data
        self.rule = choice(rule, "rule", tuple(RULES))
        self.low = number(low, "low", above=0)
        self.high = number(high, "high", above=0)
        require(self.low < self.high, "high", high, f"above low={low}")
        self.steps = integer(steps, "steps", low=20)
        self.result: LearningRates | None = None

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        optimizer = getattr(model, "optimizer", None)
        valid = isinstance(optimizer, keras.optimizers.Optimizer)
        require(valid, "model.optimizer", optimizer, "a Keras optimizer")
        self._rate = own_learning_rate(stepping_optimizer(optimizer))
        is_number = isinstance(self._rate, keras.Variable)
        hint = "Call find_learning_rate, and make the schedule with what it suggests."
        name = type(self._rate).__name__
        require(is_number, "model.optimizer.learning_rate", name, "a number", hint)

    def on_train_begin(self, logs: Logs = None) -> None:
        data, batch_size = self._data()
        self.result = find_learning_rate(
            self.model,
            data,
            batch_size=batch_size,
            low=self.low,
            high=self.high,
            steps=self.steps,
            show_progress=shows_progress(self),
        )
        suggested = self.result.suggestions[self.rule]
        self._rate.assign(suggested)
        tell(self, f"the learning rate is {suggested:.3g}, by the rule {self.rule!r}")

    def _data(self) -> tuple[Data, int]:
        """What to train on, and in which batches."""
        given = arguments_of_fit(self.model) or {}
        # Keras takes 32 if none is given.
        batch_size = int(given.get("batch_size") or 32)
        if self.train_data is not None:
            data = self.train_data
            return tuple(data) if isinstance(data, list) else data, batch_size
        hint = "There is no `fit` to take it from. Pass it to the callback."
        require(bool(given), "train_data", None, "data", hint)
        x = given["x"]
        if hasattr(x, "element_spec") or hasattr(x, "plain_data"):
            return x, batch_size
        arrays = [x, given["y"], given["sample_weight"]]
        leaves = [a for a in keras.tree.flatten(arrays) if a is not None]
        known = all(len(getattr(a, "shape", ())) > 0 for a in leaves)
        hint = "This data of `fit` cannot be read a second time. Pass it here."
        require(known, "train_data", type(x), "arrays or a dataset", hint)
        split = float(given.get("validation_split") or 0.0)
        if split and given.get("validation_data") is None:
            # As Keras cuts.
            rows = math.floor(leaves[0].shape[0] * (1.0 - split))
            arrays = keras.tree.map_structure(
                lambda a: np.asarray(a)[:rows], arrays, none_is_leaf=False
            )
        return tuple(arrays), batch_size

    def get_state(self) -> Record:
        return {"learning_rate": float(ops.convert_to_numpy(self._rate))}

    def set_state(self, state: Record) -> None:
        self._rate.assign(state["learning_rate"])

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs.setdefault("learning_rate", float(ops.convert_to_numpy(self._rate)))
