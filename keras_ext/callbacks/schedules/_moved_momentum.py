"""Momentum that follows the number of updates."""

from collections.abc import Callable, Sequence

from keras import ops

from keras_ext._core._typing import Optimizer, Tensor
from keras_ext._fit._fit_scope import FitScope
from keras_ext._live._find_hyperparameters import find_hyperparameters
from keras_ext._live._live_value import LiveValue

# The names under which optimizers keep the momentum of the first moment.
FIRST_MOMENT = ("momentum", "beta_1")


class MovedMomentum:
    """Lets numbers of an optimizer follow its updates for one `fit`.

    The compiled step computes them from the iterations, so that it does not matter how
    many steps it makes at once. Afterwards the optimizer has its own numbers again.

    Args:
        scope: The scope of the `fit`.
        owner: The callback.
        optimizer: The optimizer that steps.
        names: The names of the numbers. What the optimizer does not have is left out.
        compute: Function that returns the value, a tensor.
    """

    def __init__(
        self,
        scope: FitScope,
        owner: object,
        optimizer: Optimizer,
        names: Sequence[str],
        compute: Callable[[], Tensor],
    ) -> None:
        self._is_eager = scope.model.run_eagerly
        self._compute = compute
        knobs = [
            knob
            for knob in find_hyperparameters(scope.model)
            if knob.owner is optimizer and knob.name in names
        ]
        self.names = [knob.name for knob in knobs]
        before = [float(knob.value) for knob in knobs]
        self._lives = scope.make_live(knobs, owner)
        for live, value in zip(self._lives, before, strict=True):
            live.follow(compute)
            scope.on_close(_giving_back(live, value))

    def refresh(self) -> None:
        """Sets the values for the next step where nothing is compiled."""
        if self._is_eager and self._lives:
            value = self.present()
            for live in self._lives:
                live.assign(value)

    def present(self) -> float:
        """The value at the updates made so far."""
        return float(ops.convert_to_numpy(self._compute()))


def _giving_back(live: LiveValue, value: float) -> Callable[[], None]:
    def give_back() -> None:
        live.follow(None)
        live.assign(value)

    return give_back
