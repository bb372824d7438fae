"""Batches that are left out leave nothing behind in layers and metrics."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_ext._core._typing import Function, Record, Tensor, Variable
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras import _replica
from keras_ext._live._find_hyper_variables import hyper_variables


class Rollback:
    """Takes back what the forward pass of an update that is left out has written.

    When the gradient is found not to be finite, batch normalization has long taken the
    batch into its statistics, and the loss into the metric that shows it: one batch
    with NaN, and every prediction afterwards is NaN. So a step remembers these
    variables before it begins (with accumulation, before the first micro-batch of the
    update) and restores them when the update was left out. The states of random number
    generators and live hyperparameters go on.

    Args:
        scope: The scope of the `fit`.
        pipeline: What leaves updates out.
    """

    def __init__(self, scope: FitScope, pipeline: GradientPipeline) -> None:
        self._model = scope.model
        self._pipeline = pipeline
        self._copies: dict[int, Variable] = {}
        scope.link("train_step", self._restoring)

    def build(self) -> None:
        """Makes room for what has to last over several micro-batches."""
        if self._pipeline.accumulates:
            self._copies = {
                id(v): _replica.local_variable(
                    v.shape, v.dtype, "kept", "only_first_replica"
                )
                for v in written_by_batches(self._model)
            }

    def _restoring(self, step: Function) -> Function:
        def train_step(*args: object, **kwargs: object) -> Record:
            # What a first step is yet to create has nothing to go back to.
            variables = written_by_batches(self._model)
            before = self._remembered(variables)
            count = self._pipeline.num_left_out()
            result = step(*args, **kwargs)
            fails = self._pipeline.num_left_out() > count
            after = [tf.identity(_replica.native(v)) for v in variables]
            pairs = zip(before, after, strict=True)
            if variables:
                _replica.assign(variables, [tf.where(fails, a, b) for a, b in pairs])
            return result

        return train_step

    def _remembered(self, variables: Sequence[Variable]) -> list[Tensor]:
        present = [tf.identity(_replica.native(v)) for v in variables]
        is_first = self._pipeline.begins_update()
        for i, variable in enumerate(variables):
            copy = self._copies.get(id(variable))
            if copy is not None:
                copy.assign(tf.where(is_first, present[i], _replica.native(copy)))
                present[i] = tf.identity(_replica.native(copy))
        return present


def written_by_batches(model: keras.Model) -> list[Variable]:
    """The variables that a batch leaves something in besides the weights."""
    live = {id(h.variable) for h in hyper_variables(model).values() if h.built}
    found = [*model.non_trainable_variables, *model.metrics_variables]
    return [
        v
        for v in {id(v): v for v in found}.values()
        if id(v) not in live and v.name != "seed_generator_state"
    ]
