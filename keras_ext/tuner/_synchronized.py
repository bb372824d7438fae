"""One call of an oracle at a time, also after one that failed."""

import functools
import threading
from collections.abc import Callable
from typing import Any

from keras_tuner.src.engine.oracle import LOCKS, THREADS


def synchronized(method: Callable[..., Any]) -> Callable[..., Any]:
    """As `keras_tuner.synchronized`, whose lock stays locked after an exception.

    It is the same lock, which the methods of KerasTuner within the call find taken by
    their own thread.
    """

    @functools.wraps(method)
    def alone(oracle: Any, *args: Any, **kwargs: Any) -> Any:
        thread = threading.current_thread().name
        if THREADS[oracle] == thread:
            return method(oracle, *args, **kwargs)
        with LOCKS[oracle]:
            THREADS[oracle] = thread
            try:
                return method(oracle, *args, **kwargs)
            finally:
                THREADS[oracle] = None

    return alone
