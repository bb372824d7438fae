"""Pictures of schedules."""

from collections.abc import Mapping

from keras.optimizers.schedules import LearningRateSchedule

from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Figure
from keras_ext.schedules._curves import draw


def plot(
    schedules: LearningRateSchedule | Mapping[str, LearningRateSchedule], steps: int
) -> Figure:
    """Draws one schedule, or several in one picture, also those of Keras.

    Args:
        schedules: The schedule, or a dictionary from names to schedules.
        steps: Integer >= 2, how many updates to show.

    Returns:
        A figure of Matplotlib. In a notebook it is shown; `savefig` writes it.

    Raises:
        ValueError: If an argument is not of this form.
        ImportError: If Matplotlib is not installed.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> rex = kx.schedules.Rex(0.1, total_steps=100)
        >>> cosine = keras.optimizers.schedules.CosineDecay(0.1, 100)
        >>> figure = kx.schedules.plot({"rex": rex, "cosine": cosine}, 100)
        >>> len(figure.axes[0].lines)
        2
    """
    named = schedules if isinstance(schedules, Mapping) else {"": schedules}
    valid = bool(named) and all(
        isinstance(s, LearningRateSchedule) for s in named.values()
    )
    expected = "a schedule, or a dictionary from names to schedules"
    require(valid, "schedules", schedules, expected)
    return draw(named, integer(steps, "steps", low=2))
