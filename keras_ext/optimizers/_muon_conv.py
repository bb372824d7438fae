"""Muon, for kernels of convolutions too."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Unpack

import keras
from keras import ops

from keras_ext._core._checks import flag, integer, number
from keras_ext._core._pattern import check_pattern, matches
from keras_ext._core._typing import Pattern, Tensor, Variable
from keras_ext._engine._adaptive_rule import AdaptiveRule, Corrected
from keras_ext._engine._measured_rule import half_square, norms
from keras_ext._engine._rule_optimizer import (
    LearningRate,
    Now,
    OptimizerOptions,
    Part,
    Slot,
)

# Of the odd polynomial that moves all singular values towards 1.
# Jordan chose them for the steepest slope at 0; so the values end within about 0.3 of
# 1, and not at 1.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class _Given(NamedTuple):
    adam: Corrected
    # What momentum and gradient are multiplied by, before they are made orthogonal.
    of_momentum: Tensor
    of_gradient: Tensor


@keras.saving.register_keras_serializable(package="keras_ext")
class MuonConv(AdaptiveRule):
    """Momentum that is made orthogonal, for all kernels; Adam for the rest.

    The momentum of a kernel, seen as a matrix from inputs to outputs, is replaced by
    the nearest orthogonal matrix, so that rare directions move as far as frequent ones.
    Keras's `Muon` does so for matrices only and leaves convolutions to Adam; here a
    kernel of a convolution is the matrix of its patches. Weights of one axis, and those
    that are excluded, are moved by Adam, with the same learning rate.

    Args:
        learning_rate: A number >= 0, a `LearningRateSchedule`, or a function without
            arguments. Defaults to `0.001`.
        momentum: Number in [0, 1), how much of the average of the gradients of kernels
            is kept in an update. Defaults to `0.95`.
        nesterov: Whether the gradient is added to its average once more.
            Defaults to `True`.
        rms: Number > 0, the root mean square of an update at the learning rate 1, about
            that of Adam, whose learning rate serves then. None means the square root of
            outputs over inputs, but at least 1, times an orthogonal matrix.
            Defaults to `0.2`.
        exclude: Which weights Adam moves: a regular expression that is searched in
            `variable.path`, a list of them, or a function; usually embeddings and the
            last layer. Defaults to `"embedding"`.
        steps: Integer >= 1, how often the polynomial is applied. Defaults to `5`.
        beta_1: Number in [0, 1), the share that Adam keeps of the average of gradients.
            Defaults to `0.9`.
        beta_2: Number in [0, 1), the same of the average of squares.
            Defaults to `0.999`.
        epsilon: Number > 0, added to what is divided by. Defaults to `1e-08`.
        weight_decay: Number >= 0, the share of a weight that is taken off in an update,
            times the learning rate. None means none.
        **options: What every optimizer of Keras takes: `clipnorm`, `clipvalue`,
            `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`,
            `loss_scale_factor`, `gradient_accumulation_steps` and `name`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> kernel = keras.Variable(keras.ops.zeros((2, 2)), name="kernel")
        >>> optimizer = kx.optimizers.MuonConv(1.0, rms=None)
        >>> optimizer.apply([keras.ops.array([[5.0, 0.0], [0.0, 0.1]])], [kernel])
        >>> print(kernel.numpy().round(0))  # both directions, about as far
        [[-1.  0.]
         [ 0. -1.]]

    References:
        - [Jordan et al., 2024](https://kellerjordan.github.io/posts/muon/)
        - [Liu et al., 2025](https://arxiv.org/abs/2502.16982)
    """

    def __init__(  # noqa: PLR0913
        self,
        learning_rate: LearningRate = 0.001,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        rms: float | None = 0.2,
        exclude: Pattern = "embedding",
        steps: int = 5,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float | None = None,
        **options: Unpack[OptimizerOptions],
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            weight_decay=weight_decay,
            **options,
        )
        check_pattern("exclude", exclude)
        self.momentum = number(momentum, "momentum", low=0, below=1)
        self.nesterov = flag(nesterov, "nesterov")
        self.rms = number(rms, "rms", above=0, optional=True)
        self.exclude = exclude
        self.steps = integer(steps, "steps", low=1)

    def _is_matrix(self, variable: Variable) -> bool:
        return len(variable.shape) >= 2 and not matches(self.exclude, variable)

    def slots(self, variable: Variable) -> Mapping[str, Slot]:
        if self._is_matrix(variable):
            return {"momentum": Slot()}
        return dict(super().slots(variable))

    def coefficients(self, now: Now) -> _Given:
        own = now.weight_of_averages(self.momentum)
        if not self.nesterov:
            of_momentum, of_gradient = 1 / own, ops.zeros_like(own)
        else:
            # That of the next update, since the gradient is in it already.
            next_own = 1 - (1 - own) * self.momentum
            of_momentum = self.momentum / next_own
            of_gradient = (1 - self.momentum) / own
        return _Given(super().coefficients(now), of_momentum, of_gradient)

    def change(self, part: Part, given: _Given) -> Tensor:
        if not self._is_matrix(part.variable):
            return self._by_adam(part, given.adam)
        momentum = part.average("momentum", part.gradient, self.momentum)
        direction = momentum * given.of_momentum
        if self.nesterov:
            direction = direction + part.gradient * given.of_gradient
        inputs, outputs = math.prod(part.value.shape[:-1]), part.value.shape[-1]
        matrix = self._orthogonal(ops.reshape(direction, (inputs, outputs)))
        if self.rms is None:
            size = math.sqrt(max(1, outputs / inputs))
        else:
            # An orthogonal matrix has the root mean square 1 / sqrt(longer side).
            size = self.rms * math.sqrt(max(inputs, outputs))
        return ops.reshape(matrix, part.value.shape) * (given.adam.rate * size)

    def _by_adam(self, part: Part, given: Corrected) -> Tensor:
        momentum = part.average("momentum", part.gradient, self.beta_1)
        squares = part.average("velocity", ops.square(part.gradient), self.beta_2)
        scale = given.rate * given.scale
        return momentum * (scale / (ops.sqrt(squares) + given.epsilon))

    def _orthogonal(self, matrix: Tensor) -> Tensor:
        """The matrix with singular values near 1, by Newton and Schulz."""
        # The Gram matrix of the shorter side is the smaller one.
        is_tall = matrix.shape[0] > matrix.shape[1]
        matrix = ops.transpose(matrix) if is_tall else matrix
        # This norm is at least the largest singular value: now all are within [0, 1],
        # where the iteration does not diverge.
        matrix = matrix / (norms(half_square(matrix)) + self.epsilon)
        a, b, c = _COEFFICIENTS
        for _ in range(self.steps):
            gram = ops.matmul(matrix, ops.transpose(matrix))
            of_gram = b * gram + c * ops.matmul(gram, gram)
            matrix = a * matrix + ops.matmul(of_gram, matrix)
        return ops.transpose(matrix) if is_tall else matrix
