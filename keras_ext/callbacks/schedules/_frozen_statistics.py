"""Batch normalization that rests while its weights are frozen."""

from collections.abc import Callable, Mapping

import keras
from keras import ops

from keras_ext._anatomy._linked_method import Link, Method, link_method
from keras_ext._anatomy._moving_norms import moving_norms
from keras_ext._core._typing import Layer, Tensor
from keras_ext._fit._fit_scope import FitScope
from keras_ext._live._hyper_variable import HyperVariable


class FrozenStatistics:
    """Lets layers of batch normalization rest until an epoch, without a new trace.

    While one rests, it does what Keras lets it do with `trainable=False`: it normalizes
    by its moving statistics, and these keep every bit.

    Args:
        scope: The scope of the `fit`.
        thaws_in: Function from a layer that is built to the epoch in which it ceases to
            rest; None means that it never rests.
    """

    def __init__(
        self, scope: FitScope, thaws_in: Callable[[keras.Layer], int | None]
    ) -> None:
        self._thaws_in = thaws_in
        self._rests: dict[keras.Layer, HyperVariable] = {}
        with scope.model.distribute_strategy.scope():
            for layer in moving_norms(scope.model):
                rests = self._rests[layer] = HyperVariable(0, "rests", dtype="int32")
                rests.build()
                scope.on_close(link_method(layer, "call", self._link(layer)))

    def begin_epoch(self, epoch: int) -> None:
        """Lets those rest whose epoch has not come."""
        for layer, rests in self._rests.items():
            # One that its first step builds cannot be asked before: it rests for now.
            thawed = self._thaws_in(layer) if layer.built else epoch + 1
            rests.assign(int(thawed is not None and epoch < thawed))

    def _link(self, layer: keras.Layer) -> Link:
        def link(call: Method) -> Method:
            def resting(
                inputs: Tensor, training: bool | None = None, **options: object
            ) -> Tensor:
                if not training or self._thaws_in(layer) is None:
                    return call(inputs, training=training, **options)
                return self._either(layer, call, inputs, options)

            return resting

        return link

    def _either(
        self,
        layer: Layer,
        call: Method,
        inputs: Tensor,
        options: Mapping[str, object],
    ) -> Tensor:
        """Both outputs, and one of them: replicas cannot assign in a branch."""
        rests = self._rests[layer].value > 0
        statistics = layer.non_trainable_variables
        # Copies: what converting gives is the variable, read after the assignment.
        before = [ops.copy(v) for v in statistics]
        in_training = call(inputs, training=True, **options)
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(ops.where(rests, value, variable))
        at_rest = call(inputs, training=False, **options)
        return ops.where(rests, at_rest, in_training)
