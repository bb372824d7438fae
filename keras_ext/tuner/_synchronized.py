"""One call of an oracle at a time, also after one that failed."""

import functools
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import keras_tuner
from keras_tuner.src.engine.oracle import LOCKS, THREADS

AnOracle = TypeVar("AnOracle", bound=keras_tuner.Oracle)
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def synchronized(
    method: Callable[Concatenate[AnOracle, Arguments], Answer],
) -> Callable[Concatenate[AnOracle, Arguments], Answer]:
    """As `keras_tuner.synchronized`, whose lock stays locked after an exception.

    It is the same lock, which the methods of KerasTuner within the call find taken by
    their own thread.
    """

    @functools.wraps(method)
    def alone(
        oracle: AnOracle, /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Answer:
        # By the locks and names of KerasTuner, so that its own methods take part.
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
