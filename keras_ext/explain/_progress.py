"""A progress bar for what takes longer than a moment."""

import time
from typing import Any

import keras

_SECONDS = 2.0


class Progress:
    """Shows a bar once two seconds have gone by; until then it is silent.

    Args:
        show: Whether to show one at all.

    Examples:
        >>> from keras_ext.explain._progress import Progress
        >>> progress = Progress(show=True)
        >>> progress(1, 2)  # too soon to be of interest
    """

    def __init__(self, show: bool = True) -> None:
        self._begin = time.monotonic() if show else float("inf")
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._begin < _SECONDS:
            return
        if self._bar is None or self._bar.target != total:
            self._bar = keras.utils.Progbar(total, unit_name="part")
        self._bar.update(done, finalize=done >= total)
