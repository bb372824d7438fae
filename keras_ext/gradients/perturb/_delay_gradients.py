"""Gradients that come late, as in asynchronous training."""

from collections.abc import Mapping, Sequence

import keras
from keras import ops

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import integer
from keras_ext._core._typing import Config, Pattern, Tensor, Variable
from keras_ext._engine._gradient_transform import GradientTransform


@keras.saving.register_keras_serializable(package="keras_ext")
class DelayGradients(GradientTransform):
    """Applies each gradient `steps` updates late.

    Update `t` applies the gradient that was computed with the weights before update
    `t - steps`, and the first `steps` updates a gradient of zero. So it goes in
    asynchronous training with `steps + 1` workers that take equally long: each one
    brings a gradient of weights that the others have moved since. Use it to find out,
    on one device, what the delay does to a model; it is a simulation, and makes nothing
    faster.

    A delay asks for a smaller learning rate: gradient descent on a parabola with
    curvature `c` converges if `learning_rate * c < 2 * sin(pi / (4 * steps + 2))`,
    which is 2 without a delay and about `pi / (2 * steps)` with a long one. Momentum
    makes it worse.

    It keeps `steps` gradients of each weight.

    Args:
        steps: Integer >= 0, by how many updates a gradient is late. Defaults to `1`.
        include: Which variables are delayed: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.GradientPipeline(
        ...     keras.optimizers.SGD(1.0), [kx.gradients.DelayGradients(steps=2)]
        ... )
        >>> weight = keras.Variable([0.0], name="weight")
        >>> for gradient in (1.0, 10.0, 100.0):
        ...     optimizer.apply([keras.ops.array([gradient])], [weight])
        ...     print(weight.numpy())
        [0.]
        [0.]
        [-1.]

    References:
        - [Giladi et al., 2020](https://arxiv.org/abs/1909.12340), what a delay does
    """

    def __init__(
        self,
        steps: int = 1,
        *,
        include: Pattern = None,
        exclude: Pattern = None,
    ) -> None:
        super().__init__(include=include, exclude=exclude)
        self.steps = integer(steps, "steps", low=0)

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        super().build(variables, unit_axes)
        chosen = self.chosen(variables)
        self._oldest = self.add_state((), "oldest", dtype="int32")
        # A ring for each weight: the oldest gradient makes room for the new one.
        self._rings = {
            id(v): self.add_state((self.steps, *v.shape), f"{v.name}_ring")
            for v in chosen
            if self.steps
        }

    def transform(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable]
    ) -> Sequence[Tensor]:
        if not self.steps:
            return gradients
        oldest = ops.convert_to_tensor(self._oldest.value)
        late = [
            self._exchange(self._rings[id(v)], g, oldest)
            for g, v in zip(gradients, variables, strict=True)
        ]
        self._oldest.assign(ops.mod(oldest + 1, self.steps))
        return late

    def _exchange(self, ring: Variable, gradient: Tensor, place: Tensor) -> Tensor:
        kept = ops.convert_to_tensor(ring.value)
        late = ops.take(kept, place, axis=0)
        rows = ops.reshape(ops.arange(self.steps), (-1, *(1 for _ in gradient.shape)))
        new = ops.cast(gradient, kept.dtype)[None]
        ring.assign(ops.where(ops.equal(rows, place), new, kept))
        return ops.cast(late, gradient.dtype)

    def get_config(self) -> Config:
        return {"steps": self.steps, **super().get_config()}
