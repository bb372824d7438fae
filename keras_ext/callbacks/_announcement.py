"""Lines that callbacks print."""

import logging
import sys
from typing import Any

import keras

_log = logging.getLogger(__name__)


def announce(callback: Any, best_epoch: int | None = None) -> None:
    """Says at the end of training, in one line, who stopped it and why.

    As in Keras, the epochs are counted from 1, as the progress bar does, and the line
    goes to the log if `keras.config.disable_interactive_logging` was called.

    Args:
        callback: Has `verbose`, `stopped_epoch` and `stopped_by`.
        best_epoch: The epoch whose weights were restored, counted from 0.
    """
    if not callback.verbose:
        return
    line = f"Epoch {callback.stopped_epoch + 1}: early stopping by "
    line += f"{type(callback).__name__}: {callback.stopped_by}."
    if best_epoch is not None:
        line += f" The weights of epoch {best_epoch + 1} are restored."
    say(line)


def say(line: str) -> None:
    """Prints a line, or logs it where Keras would do so."""
    if keras.config.is_interactive_logging_enabled():
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    else:
        _log.info(line)
