"""Trials of the training step that leave no trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from keras_ext._core._typing import Data, Variable
from keras_ext._keras._optimizer_family import build_optimizer


@contextmanager
def left_as_it_was(model: keras.Model, data: Data) -> Iterator[None]:
    """Restores all variables, and the compiled step, when the trials are over.

    These are weights, statistics of batch normalization, optimizer and its iterations,
    seeds and metrics. The training step of the model is there within.

    Args:
        model: A compiled model.
        data: What `evaluate` takes: one batch of it builds what is not built yet.
    """
    before = _values(_variables(model) + model.metrics_variables)
    function = model.train_function
    try:
        # A `fit` that is about to begin has a step, and has built nothing yet.
        if function is None or not _is_built(model):
            _build(model, data)
        # In this order: what `_build` has moved keeps its value from before.
        before = _values(_variables(model)) | before
        # Not `force`: what is compiled here need not be compiled again by `fit`.
        model.make_train_function()
        yield
    finally:
        model.train_function = function
        if any(id(v) not in before for v in model.metrics_variables):
            model.reset_metrics()  # they did not exist
        for variable, value in before.values():
            variable.assign(value)


def _is_built(model: keras.Model) -> bool:
    return model.built and (model.optimizer is None or model.optimizer.built)


def _build(model: keras.Model, data: Data) -> None:
    """Builds the model with its loss and metrics, as `fit` does, and the optimizer."""
    function = model.test_function
    model.evaluate(data, steps=1, verbose=0)
    model.test_function = function
    build_optimizer(model)


def _variables(model: keras.Model) -> list[Variable]:
    optimizer = model.optimizer
    return [*model.variables, *(optimizer.variables if optimizer is not None else [])]


def _values(variables: list[Variable]) -> dict[int, tuple[Variable, np.ndarray]]:
    return {id(v): (v, keras.ops.convert_to_numpy(v)) for v in variables}
