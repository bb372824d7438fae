"""How long what takes longer than a moment will take."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf

import keras

from keras_ext._core._lines import say

_SECONDS = 2.0
# From here on one would rather know before.
_LONG = 10.0
_BETWEEN_LINES = {True: 0.5, False: 30.0}
# For explanations.
_SHORTER = (
    "Fewer rows, a smaller `budget`, `groups` or a smaller background make it shorter."
)
# Whether somebody else says how far it is.
HIDDEN = ContextVar("HIDDEN", default=False)


@contextmanager
def without_progress() -> Iterator[None]:
    """Lets what begins within it be silent, since the caller says what is done.

    Examples:
        >>> from keras_ext._core._progress import Progress, without_progress
        >>> with without_progress():
        ...     progress = Progress(clock=iter([0.0, 5.0, 20.0]).__next__)
        >>> progress(1, 3)
    """
    token = HIDDEN.set(True)
    try:
        yield
    finally:
        HIDDEN.reset(token)


class Progress:
    """Says before a long computation how long it will take, and then how far it is.

    Until two seconds have gone by it is silent, unless what was done until then lets
    expect a long time. A terminal or notebook sees one line that changes, a file a new
    one twice a minute, and nothing does where Keras shows no progress bars either.

    Args:
        show: Whether to say anything at all.
        shorter: What makes it shorter, a sentence that is said with a long time.
        clock: Gives the time in seconds.

    Examples:
        >>> from keras_ext._core._progress import Progress
        >>> progress = Progress(show=True)
        >>> progress(1, 2)  # too soon to be of interest
    """

    def __init__(
        self,
        show: bool = True,
        *,
        shorter: str = _SHORTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show = show and not HIDDEN.get()
        self._shorter, self._clock = shorter, clock
        self._begin = self._round = self._last = clock()
        self._said = -inf
        self._total, self._done, self._first = 0, 0, 0
        self._was_long = False

    def __call__(self, done: int, total: int) -> None:
        if not self._show:
            return
        now = self._clock()
        if total != self._total or done < self._done:
            self._round = self._last  # a new one began where the last report was
            self._first = 0
        self._total, self._done, self._last = total, done, now
        self._say(now, done / total)

    def begin(self, done: int, total: int) -> None:
        """Takes the time from now on: what came first, as tracing, is no measure."""
        self._total, self._done, self._first = total, done, done
        self._round = self._last = self._clock()

    def _say(self, now: float, part: float) -> None:
        done = self._done - self._first
        left = (now - self._round) * (self._total - self._done) / done if done else inf
        if not self._was_long and _LONG <= left < inf:
            self._was_long = True
            say(f"This takes about {duration(left)}. {self._shorter}".rstrip())
        if not keras.config.is_interactive_logging_enabled():
            return
        changes = _is_watched()
        early = now - self._begin < _SECONDS
        if early or (now - self._said < _BETWEEN_LINES[changes] and part < 1):
            return
        if part >= 1 and self._said == -inf:
            return
        self._said = now
        text = f"{part:4.0%} done"
        if part >= 1:
            text += f" in {self._taken(now)}"
        elif left < inf:
            text += f", {duration(left)} left"
        end = "\n" if part >= 1 or not changes else ""
        _write(("\r" if changes else "") + text.ljust(40) + end)

    def _taken(self, now: float) -> str:
        return duration(now - self._begin)


def duration(seconds: float) -> str:
    """A time in words, with two digits."""
    if seconds < 90:
        return f"{max(seconds, 1):.2g} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:.2g} h"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _is_watched() -> bool:
    """Whether somebody sees lines change, as Keras's progress bar takes it."""
    return "ipykernel" in sys.modules or sys.stdout.isatty()
