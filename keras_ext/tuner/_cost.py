"""What a model costs, as an objective."""

from collections.abc import Sequence

import keras
import keras_tuner
import numpy as np

from keras_ext._core._checks import choice, integer, require
from keras_ext._core._described import Described
from keras_ext._core._timing import milliseconds
from keras_ext._core._typing import Logs
from keras_ext.diagnostics._float_operations import float_operations

COSTS = ("latency", "parameters", "bytes", "flops")


class Cost(Described, keras_tuner.Objective):
    """What a model costs: an objective that is measured, and minimized.

    A tuner of `keras_ext` measures it after the first epoch of each trial, and reports
    it with each. With others in a list, as `["val_accuracy", "parameters"]`, the best
    trials are the Pareto front: see `Oracle`. The word alone means the defaults.

    - `"latency"`: the median time of a prediction in milliseconds. Half of the range
      that the middle half of the times is in is reported as `latency_spread`: two
      trials that are nearer than that are alike. Other work on the machine counts.
    - `"parameters"`: how many numbers the weights are, trainable or not.
    - `"bytes"`: how many bytes the weights are, without the optimizer.
    - `"flops"`: `keras_ext.diagnostics.float_operations`.

    Args:
        kind: Which of them.
        x: Rows to predict for `"latency"`, an array, or a list of one for each input.
            None means one row of zeros.
        repeats: Integer >= 3, how many predictions are timed. Defaults to `30`.

    Raises:
        ValueError: If an argument is out of range; for a trial, if a model has no known
            input shape where one is needed.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> {k: kx.tuner.Cost(k).measure(model)[0] for k in ("parameters", "bytes")}
        {'parameters': 36, 'bytes': 144}
        >>> milliseconds, spread = kx.tuner.Cost("latency", repeats=5).measure(model)
        >>> milliseconds > 0 and spread >= 0
        True
    """

    def __init__(
        self,
        kind: str,
        *,
        x: np.ndarray | Sequence[np.ndarray] | None = None,
        repeats: int = 30,
    ) -> None:
        super().__init__(choice(kind, "kind", COSTS), "min")
        self.kind = kind
        fits = x is None or kind == "latency"
        require(fits, "x", x, f'None for "{kind}"')
        parts = x if isinstance(x, list | tuple) else [x]
        fits = x is None or (len(parts) > 0 and all(map(_has_rows, parts)))
        require(fits, "x", x, "an array with rows, a list of these, or None")
        self.x = x
        self.repeats = integer(repeats, "repeats", low=3)

    def measure(self, model: keras.Model) -> tuple[float, float]:
        """Measures a built model.

        Args:
            model: The model.

        Returns:
            The cost and its spread, which is 0 for what is counted.
        """
        require(model.built, "model", model.name, "a built model")
        if self.name == "latency":
            return self._latency(model)
        if self.name == "flops":
            return float_operations(model), 0
        if self.name == "parameters":
            return model.count_params(), 0
        sizes = [keras.ops.convert_to_numpy(w).nbytes for w in model.weights]
        return sum(sizes), 0

    def _latency(self, model: keras.Model) -> tuple[float, float]:
        rows = _zeros(model) if self.x is None else self.x
        # Not `predict`, which takes longer for its own preparations than a small model.
        return milliseconds(lambda: model.predict_on_batch(rows), self.repeats)


def _has_rows(x: object) -> bool:
    return isinstance(x, np.ndarray) and x.ndim > 0 and len(x) > 0


def _zeros(model: keras.Model) -> np.ndarray | list[np.ndarray]:
    """A row for each input of a model."""
    shapes = [tuple(t.shape[1:]) for t in getattr(model, "inputs", None) or []]
    known = bool(shapes) and not any(None in shape for shape in shapes)
    hint = 'Give rows: keras_ext.tuner.Cost("latency", x=...).'
    require(known, "model", model.name, "one whose inputs have known shapes", hint)
    rows = [
        np.zeros((1, *shape), keras.backend.standardize_dtype(t.dtype))
        for t, shape in zip(model.inputs, shapes, strict=True)
    ]
    return rows[0] if len(rows) == 1 else rows


class MeasuredCosts(keras.callbacks.Callback):
    """Adds the costs of a model to what is logged at the end of each epoch.

    Logs `latency` and `latency_spread`, `parameters`, `bytes` and `flops`, as far as
    they are objectives.

    Args:
        costs: Those that are objectives.
    """

    def __init__(self, costs: list[Cost]) -> None:
        super().__init__()
        self._costs = costs
        self._found: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        # Once: training changes the weights, and not what they cost.
        if not self._found:
            for cost in self._costs:
                value, spread = cost.measure(self.model)
                self._found[cost.name] = float(value)
                if cost.name == "latency":
                    self._found["latency_spread"] = float(spread)
        if logs is not None:
            logs.update(self._found)


def measuring(objectives: Sequence[keras_tuner.Objective]) -> list[MeasuredCosts]:
    """What has to be with a training for those objectives that are costs."""
    costs = [objective for objective in objectives if isinstance(objective, Cost)]
    return [MeasuredCosts(costs)] if costs else []
