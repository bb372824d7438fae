"""Lines that are printed."""

import logging
import sys

import keras

_log = logging.getLogger(__name__)


def say(line: str) -> None:
    """Prints a line, or logs it where Keras would do so.

    Keras logs what it has to say if `keras.config.disable_interactive_logging` was
    called.

    Args:
        line: The line, without its end.

    Examples:
        >>> from keras_ext._core._lines import say
        >>> say("Epoch 3: something was decided.")
        Epoch 3: something was decided.
    """
    if keras.config.is_interactive_logging_enabled():
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    else:
        _log.info(line)
