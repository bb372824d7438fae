"""The base of the signals that are measured inside the training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._typing import Tensor, Variable
from keras_ext._engine._gradient_transform import Clipping, GradientTransform
from keras_ext._engine._pipeline_part import PipelinePart


class Update(NamedTuple):
    """What a signal sees of one update, the same on every replica.

    Attributes:
        gradients: The reduced gradients before the transforms.
        transformed: The gradients after them.
        variables: The weights, before the update.
        squared_norms: The squared norms of `gradients`, a vector.
        iteration: The number of updates before this one.
        micro_batches: How many micro-batches, over all replicas, the gradient is the
            mean of.
        local_sums: From signal to the sums over these micro-batches of its
            `measure_locally`. Empty if there can be only one: then `gradients` are
            those of the micro-batch.
        clippings: From transform to what it did, for those that limit norms.
    """

    gradients: Sequence[Tensor]
    transformed: Sequence[Tensor]
    variables: Sequence[Variable]
    squared_norms: Tensor
    iteration: Tensor
    micro_batches: Tensor
    local_sums: Mapping[GradientSignal, Sequence[Tensor]]
    clippings: Mapping[GradientTransform, Clipping]


class GradientSignal(PipelinePart):
    """Measures something about gradients, on the device, without the host.

    `GradientPipeline` calls it while the step is traced. To write one, make the state
    in `build` with `add_state`, write it in `before_update` or `after_update`, and
    read it on the host.
    """

    # The shapes of what `measure_locally` returns; known once it is built. Without
    # any, it is not called.
    local_shapes: Sequence[Sequence[int]] = ()

    def __init__(self) -> None:
        super().__init__()

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        """Creates the state for these weights."""

    def measure_locally(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        """Measures one micro-batch on one replica, in float32, to be summed.

        Args:
            gradients: The gradients of the micro-batch.
            variables: The weights that have one.

        Returns:
            Tensors of `local_shapes`, each quadratic in the gradient: a replica sees
            the gradient of its loss divided by the number of replicas.
        """
        raise NotImplementedError

    def before_update(self, update: Update) -> None:
        """Called once per update, before the weights move."""

    def after_update(self, update: Update) -> None:
        """Called once per update, after the weights have moved."""

    def after_skip(self, squared_norms: Tensor, variables: Sequence[Variable]) -> None:
        """Called in place of the two above when an update is left out.

        In cross-replica context, once for all replicas.

        Args:
            squared_norms: The squared norms of the gradients of `variables`, a vector;
                not all are finite, unless a gate left the update out.
            variables: The weights that have a gradient.
        """
