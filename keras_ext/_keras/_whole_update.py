"""An optimizer of Keras that is handed all gradients of an update at once."""

from abc import abstractmethod
from collections.abc import Sequence

import keras

from keras_ext._core._typing import Tensor, Variable
from keras_ext._keras._replica import native
from keras_ext._keras._sparse_gradient import dense


class WholeUpdate(keras.optimizers.Optimizer):
    """Hands a rule all gradients of an update, summed over the replicas.

    Keras asks an optimizer for one weight after the other. A rule that compares norms,
    or measures distances over the whole model, needs them together. It gets them here,
    in replica context and the same on every replica.

    Keras clips on each replica, before the sum, and decays weights in a pass of its
    own. Here clipping comes after the sum, so that weights do not depend on the number
    of replicas, and decay is left to the rule. Sparse gradients, those of `Embedding`,
    are made dense.

    Private names of `keras.optimizers.Optimizer` that are overridden:
    `_backend_update_step`, `_clip_gradients` and `_apply_weight_decay`.
    """

    @abstractmethod
    def update(
        self,
        gradients: Sequence[Tensor],
        variables: Sequence[Variable],
        learning_rate: Tensor,
    ) -> None:
        """Moves the weights.

        Args:
            gradients: Tensors, summed over the replicas and clipped.
            variables: The weights that they are for.
            learning_rate: That of this update.
        """

    def _clip_gradients(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        return grads  # Not yet: see `_backend_update_step`.

    def _apply_weight_decay(self, variables: Sequence[Variable]) -> None:
        """Does nothing: it is up to the rule."""

    def _backend_update_step(
        self,
        grads: Sequence[Tensor],
        trainable_variables: Sequence[Variable],
        learning_rate: Tensor,
    ) -> None:
        variables = list(trainable_variables)
        pairs = [(dense(g), native(v)) for g, v in zip(grads, variables, strict=True)]
        summed = [g for g, _ in self._all_reduce_sum_gradients(pairs)]
        self.update(super()._clip_gradients(summed), variables, learning_rate)

    def index_of(self, variable: Variable) -> int:
        """The number of a weight in the list that the optimizer was built for."""
        return int(self._get_variable_index(variable))
