"""Batch size, epochs and accumulation."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_ext._core._checks import integer
from keras_ext._core._typing import Record
from keras_ext.tuner.spaces._asked import Asked, Integers, integer_span

if TYPE_CHECKING:
    import keras_tuner


def training(
    num_rows: int,
    *,
    batch_size: Integers = (16, 256),
    epochs: Integers = 27,
    accumulation: Integers = 1,
) -> "Training":
    """The space of how to train: batch size, epochs, and batches per update.

    Args:
        num_rows: Integer >= 1, how many rows there are to train with, those for
            validation not counted: from it follows the number of updates.
        batch_size: Integer >= 1 or a pair, of which `low`, twice that, and so on up to
            `high` are searched. Defaults to `(16, 256)`.
        epochs: Integer >= 1 or a pair. A search that says itself how long trials are,
            such as `BOHB`, needs one number, the same as its `max_epochs`. Defaults to
            `27`.
        accumulation: Integer >= 1 or a pair, of which `low`, twice that, and so on are
            searched: of how many batches an update is the mean. Defaults to `1`.

    Returns:
        A function of `hp` that returns the arguments of `fit`, `batch_size` and
        `epochs`. Its `declare(hp)` declares all hyperparameters, whose names begin with
        `training/`, `total_steps(hp)` is the number of updates, and `accumulation(hp)`
        of how many batches one is.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras_tuner
        >>> import keras_ext as kx
        >>> space = kx.tuner.spaces.training(1000, batch_size=(32, 128), epochs=10)
        >>> hp = keras_tuner.HyperParameters()
        >>> space(hp), space.total_steps(hp)
        ({'batch_size': 32, 'epochs': 10}, 320)
        >>> [h.name for h in hp.space]
        ['training/batch_size']
    """
    return Training(
        integer(num_rows, "num_rows", low=1),
        integer_span(batch_size, "batch_size"),
        integer_span(epochs, "epochs"),
        integer_span(accumulation, "accumulation"),
    )


@dataclass(frozen=True)
class Training:
    """See `training`."""

    num_rows: int
    batch_sizes: tuple[int, int]
    epochs: tuple[int, int]
    accumulations: tuple[int, int]
    name = "training"

    def declare(self, hp: "keras_tuner.HyperParameters") -> None:
        """Declares all hyperparameters."""
        self._read(hp)

    def __call__(self, hp: "keras_tuner.HyperParameters") -> dict[str, int]:
        """Returns the arguments of `fit`."""
        values = self._read(hp)
        return {name: values[name] for name in ("batch_size", "epochs")}

    def total_steps(self, hp: "keras_tuner.HyperParameters") -> int:
        """Returns the number of updates of a whole training."""
        values = self._read(hp)
        batches = math.ceil(self.num_rows / values["batch_size"]) * values["epochs"]
        # What is left of a last accumulation makes no update.
        return max(1, batches // int(values["accumulation"]))

    def accumulation(self, hp: "keras_tuner.HyperParameters") -> int:
        """Returns of how many batches an update is the mean."""
        return int(self._read(hp)["accumulation"])

    def _read(self, hp: "keras_tuner.HyperParameters") -> Record:
        with hp.name_scope(self.name):
            asked = Asked(hp)
            sizes, accumulations = self.batch_sizes, self.accumulations
            return {
                "batch_size": asked.integer("batch_size", sizes, doubling=True),
                "epochs": asked.integer("epochs", self.epochs, log=True),
                "accumulation": asked.integer(
                    "accumulation", accumulations, doubling=True
                ),
            }
