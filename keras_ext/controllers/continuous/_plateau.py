"""Moves when a measurement stops improving."""

import math

from keras_ext._core._checks import choice, flag, integer, is_number, number, require
from keras_ext._core._described import Described


class Plateau(Described):
    """Says by what to multiply a value when a measurement stops improving.

    It counts the measurements since the best one. After `patience` of them it answers
    `factor`, and 1 otherwise. The factor may be below 1, as for a learning rate, or
    above, as for a penalty.

    With `reverse=True` it turns around when a move did not pay: when the best
    measurement after it is no better than the best after the move before, the next
    factor is `1 / factor`, and so on. So it finds the valley of a knob of which it is
    not known which way is better, and then walks to and fro in it. Give it a
    `cooldown` as long as the knob takes to show its effect.

    Args:
        factor: Number > 0 other than 1, what to multiply by. Defaults to `0.5`.
        patience: Integer >= 1, the measurements without improvement before a move.
            Defaults to `3`.
        cooldown: Integer >= 0, the measurements after a move that are not counted.
            Defaults to `0`.
        min_delta: Number >= 0; what differs less from the best is no improvement.
            Defaults to `0.0`.
        mode: `"min"` if less is better, or `"max"`. Defaults to `"min"`.
        reverse: Whether to turn around when a move did not pay. Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_ext as kx
        >>> controller = kx.controllers.Plateau(factor=0.1, patience=2)
        >>> [controller.update(loss) for loss in (3.0, 2.0, 2.0, 2.0, 1.0)]
        [1.0, 1.0, 1.0, 0.1, 1.0]
    """

    def __init__(
        self,
        factor: float = 0.5,
        *,
        patience: int = 3,
        cooldown: int = 0,
        min_delta: float = 0.0,
        mode: str = "min",
        reverse: bool = False,
    ) -> None:
        self.factor = number(factor, "factor", above=0)
        require(factor != 1, "factor", factor, "a number > 0 other than 1")
        self.patience = integer(patience, "patience", low=1)
        self.cooldown = integer(cooldown, "cooldown", low=0)
        self.min_delta = number(min_delta, "min_delta", low=0)
        self.mode = choice(mode, "mode", ("min", "max"))
        self.reverse = flag(reverse, "reverse")
        self._best = math.inf
        # The best of all since the last move, and since the one before.
        self._best_since_move = math.inf
        self._best_before_move = math.inf
        self._direction = 1
        self._waited = 0
        self._cooling = 0

    def update(self, measurement: float) -> float:
        """Takes in a measurement and returns what to multiply the value by.

        Args:
            measurement: The present value; one that is not finite is no improvement.

        Returns:
            1.0, `factor`, or with `reverse` also `1 / factor`.
        """
        sign = 1 if self.mode == "min" else -1
        cost = sign * measurement if is_number(measurement) else math.inf
        if self._cooling > 0:
            self._cooling -= 1
            self._waited = 0
        counted = self._cooling == 0
        if counted:
            self._best_since_move = min(self._best_since_move, cost)
        if cost < self._best - self.min_delta:
            self._best = cost
            self._waited = 0
        elif counted:
            self._waited += 1
        return 1.0 if self._waited < self.patience else self._move()

    def _move(self) -> float:
        if self.reverse and self._best_since_move >= self._best_before_move:
            self._direction = -self._direction
        self._best_before_move = self._best_since_move
        self._best_since_move = math.inf
        self._cooling = self.cooldown
        self._waited = 0
        return float(self.factor**self._direction)
