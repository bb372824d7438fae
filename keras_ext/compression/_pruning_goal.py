"""Prunes as far as a paired test on rows that are not trained with allows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Record, Tensor
from keras_ext._keras._replica import local_variable, parts
from keras_ext.compression._masking import Masking
from keras_ext.compression._sparsity_schedule import SparsitySchedule

# The share of trainings in which a bound of the test is right, and fewest rows for it.
_CONFIDENCE = 0.95
_FEWEST_ROWS = 30


class PausedSchedule(SparsitySchedule):
    """A schedule that stands still while it is held.

    Made where the variables of the model are; in a step it is read by each replica.

    Args:
        schedule: The schedule.
    """

    def __init__(self, schedule: SparsitySchedule) -> None:
        begin, end = schedule.begin_step, schedule.end_step
        super().__init__(begin_step=begin, end_step=end, frequency=schedule.frequency)
        self._schedule = schedule
        first = "only_first_replica"
        self._lag = local_variable((), "int32", "lag", first, 0)
        self._held = local_variable((), "bool", "held", first, False)

    def is_due(self, step: Tensor) -> Tensor:
        due = self._schedule.is_due(step - self._lag.value)
        return ops.logical_and(due, ops.logical_not(self._held.value))

    def sparsity(self, step: Tensor) -> Tensor:
        return self._schedule.sparsity(step - self._lag.value)

    def set(self, lag: int, held: bool) -> None:
        """Stands still from now on, or goes on so many steps later."""
        for variable, value in ((self._lag, lag), (self._held, held)):
            for part in parts(variable):
                part.assign(value)


@dataclass
class Passed:
    """A model that has passed the test; `epoch` is -1 for the one before."""

    epoch: int
    sparsity: float
    weights: list[np.ndarray]
    masks: list[np.ndarray]


class PruningGoal:
    """Tests after each epoch whether pruning may go on, and returns to what passed.

    Args:
        masking: What prunes.
        schedule: How fast and how far at most; it is held where pruning may not go on.
        tolerance: By how much the mean error of a row may rise.
    """

    def __init__(
        self, masking: Masking, schedule: PausedSchedule, tolerance: float
    ) -> None:
        self.masking = masking
        self.schedule = schedule
        self.tolerance = tolerance
        self._held_since: int | None = None
        self._lag = 0
        self._reference: np.ndarray | None = None
        self._passed: Passed | None = None
        self.verdict = ""

    def begin(self, model: keras.Model, data: FixedData) -> None:
        """Measures the model as it is, before it is pruned any further.

        Args:
            model: The model.
            data: Rows that are not trained with.
        """
        self.model = model
        self._rows = _Rows(model, data)
        if self._reference is None:
            self._reference = self._rows.errors()
            self._passed = self._present(-1)

    def _present(self, epoch: int) -> Passed:
        kept = [ops.convert_to_numpy(v) != 0 for v in self.masking.variables]
        share = sum(int(k.sum()) for k in kept) / sum(k.size for k in kept)
        return Passed(epoch, 1.0 - share, self.model.get_weights(), kept)

    def test(self, epoch: int, updates: int) -> float:
        """Compares the model with the best one so far; returns the bound of the rise.

        Args:
            epoch: The epoch that has ended.
            updates: How many updates there were.
        """
        errors, reference = self._rows.errors(), self._reference
        bound = self._rows.rise(errors, reference)
        if bound <= self.tolerance:
            self._passed = self._present(epoch)
            # Only a better model becomes the reference, lest rises within the tolerance
            # add up.
            if errors.mean() < np.mean(reference):
                self._reference = errors
            self._go_on(updates)
        elif self._held_since is None:
            self._held_since = updates
            self.schedule.set(self._lag, True)
        self.verdict = (
            f"at {self.masking.sparsity:.1%} {self._rows.measure} rises by "
            f"{bound:.3g} at most, of {self.tolerance:g} that are allowed"
        )
        return bound

    def _go_on(self, updates: int) -> None:
        if self._held_since is not None:
            self._lag += updates - self._held_since
            self._held_since = None
            self.schedule.set(self._lag, False)

    def end(self) -> str:
        """Returns to the model that passed last, and says where that was."""
        passed: Any = self._passed
        if self._held_since is not None:
            self.model.set_weights(passed.weights)
            self.masking.follow(passed.masks)
        where = f"after epoch {passed.epoch + 1}"
        where = "before the training" if passed.epoch < 0 else where
        return f"{passed.sparsity:.1%} zeros, those {where}; {self.verdict}."

    def get_state(self) -> Record:
        """What a training that is taken up again needs."""
        passed: Any = self._passed
        return {
            "lag": self._lag,
            "held_since": self._held_since,
            "reference": self._reference,
            "passed": dict(vars(passed)),
            "verdict": self.verdict,
        }

    def set_state(self, state: Record) -> None:
        """Takes up what `get_state` has given."""
        self._lag, self._held_since = state["lag"], state["held_since"]
        self._reference, self.verdict = state["reference"], state["verdict"]
        self._passed = Passed(**state["passed"])
        self.schedule.set(self._lag, self._held_since is not None)


def rise(errors: np.ndarray, reference: np.ndarray) -> float:
    """The upper bound of the mean rise of errors, of the same rows.

    If they are zeros and ones, by Agresti and Min (2005), who add a half to each of the
    four cells: that no row has changed is no proof that none would.
    """
    difference = np.asarray(errors, "float64") - np.asarray(reference, "float64")
    count = len(difference)
    quantile = NormalDist().inv_cdf(_CONFIDENCE)
    if np.isin(errors, (0, 1)).all() and np.isin(reference, (0, 1)).all():
        mean = difference.sum() / (count + 2)
        square = (np.sum(np.abs(difference)) + 1) / (count + 2) - mean**2
        return float(mean + quantile * math.sqrt(square / (count + 2)))
    spread = difference.std(ddof=1) / math.sqrt(count)
    return float(difference.mean() + quantile * spread)


class _Rows:
    """The rows to test with, and what a model makes of them.

    Args:
        model: The model.
        data: The rows.
    """

    def __init__(self, model: keras.Model, data: FixedData) -> None:
        self.batches = [(x, np.asarray(y)) for x, y, _ in data]
        count = sum(len(y) for _, y in self.batches)
        rule = f"at least {_FEWEST_ROWS} rows for a test"
        require(count >= _FEWEST_ROWS, "validation_data", f"{count} rows", rule)
        # TensorFlow counts traces by the code, and would warn of those of many models.
        self._predict = tf.function(
            partial(model, training=False), autograph=False, reduce_retracing=True
        )
        outputs = keras.tree.flatten(model(self.batches[0][0], training=False))
        rule = "a model with one output"
        require(len(outputs) == 1, "model", model.name, rule)
        shape = tuple(outputs[0].shape)
        self.are_classes, self._error = _error(model, shape, self.batches[0][1])

    @property
    def measure(self) -> str:
        """What is measured, in words."""
        rows = f"on {sum(len(y) for _, y in self.batches)} rows"
        kind = (
            "the share of wrong ones" if self.are_classes else "the share of the loss"
        )
        return f"{kind} {rows}"

    def rise(self, errors: np.ndarray, reference: Any) -> float:
        """The bound of the rise; of a loss as a share of it."""
        bound = rise(errors, reference)
        return bound if self.are_classes else bound / max(float(reference.mean()), 1e-9)

    def errors(self) -> np.ndarray:
        """The error of each row."""
        found = [self._error(y, self._predict(x)) for x, y in self.batches]
        return np.concatenate(found)


def _error(
    model: keras.Model, shape: Sequence[int], y: np.ndarray
) -> tuple[bool, Callable[[Data, Tensor], np.ndarray]]:
    """How wrong rows are: classes that are not the right ones, or the loss."""
    is_one_hot = shape[-1] > 1 and y.shape == shape and np.isin(y, (0, 1)).all()
    if is_one_hot and (y.sum(axis=-1) == 1).all():
        return True, lambda y, p: _wrong(np.argmax(y, axis=-1), p)
    is_label = np.issubdtype(y.dtype, np.integer) and shape[-1] > 1
    if is_label and y.shape in (shape[:-1], (*shape[:-1], 1)):
        return True, lambda y, p: _wrong(y.reshape(shape_of_labels(y, p)), p)
    loss = keras.losses.get(model.loss)
    rule = "a loss, or the name of one, of a single output"
    require(callable(loss), "loss", model.loss, rule)
    each = loss.call if isinstance(loss, keras.losses.Loss) else loss
    return False, lambda y, p: _by_row(ops.convert_to_numpy(each(y, p)))


def shape_of_labels(y: np.ndarray, outputs: Tensor) -> tuple[int, ...]:
    """That of outputs without the axis of classes, for labels with or without it."""
    return (len(y), *(int(n) for n in outputs.shape[1:-1]))


def _wrong(labels: np.ndarray, outputs: Tensor) -> np.ndarray:
    return _by_row(np.argmax(ops.convert_to_numpy(outputs), axis=-1) != labels)


def _by_row(values: np.ndarray) -> np.ndarray:
    flat = np.asarray(values, "float64").reshape(len(values), -1)
    means: np.ndarray = flat.mean(axis=1)
    return means
