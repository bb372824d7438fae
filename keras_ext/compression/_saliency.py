"""How much a loss depends on each entry of a weight, from its gradients."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._gradient_signal import GradientSignal, Update

# How much of the mean of Taylor scores an update leaves, some fifty of them.
_REMEMBERED = 0.98


class Saliency(GradientSignal):
    """Collects what gradients say of each entry, from update to update.

    Args:
        kind: `"movement"` for the sum of minus weight times gradient, which is large
            where weights move away from zero; `"taylor"` for a moving average of the
            square of that, by how much the loss would change without the entry;
            `"gradient"` for the size of the last gradient.
        variables: The weights to collect it of.
    """

    def __init__(self, kind: str, variables: Sequence[Variable]) -> None:
        super().__init__()
        self.kind = kind
        self.variables = list(variables)
        self.scores: list[Variable] = []

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        self.state = []
        self.scores = [self.add_state(v.shape, self.kind) for v in self.variables]

    def before_update(self, update: Update) -> None:
        pairs = zip(update.variables, update.gradients, strict=True)
        gradients = {id(v): gradient for v, gradient in pairs}
        for variable, score in zip(self.variables, self.scores, strict=True):
            if id(variable) in gradients:
                weight = tf.cast(variable.value, tf.float32)
                self._collect(
                    score, weight, tf.cast(gradients[id(variable)], tf.float32)
                )

    def _collect(self, score: Variable, weight: Tensor, gradient: Tensor) -> None:
        product = weight * gradient
        # What comes next: S = -sum(w * g) of movement pruning, and (w * g)**2 of
        # Molchanov et al.
        if self.kind == "gradient":
            score.assign(tf.abs(gradient))
        elif self.kind == "movement":
            score.assign(score.value - product)
        else:
            new = (1.0 - _REMEMBERED) * tf.square(product)
            score.assign(_REMEMBERED * score.value + new)
