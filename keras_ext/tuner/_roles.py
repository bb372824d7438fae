"""Which part a process has in a search, as the environment tells.

The variables are those of KerasTuner: KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT,
where the chief listens, and KERASTUNER_TUNER_ID, in which the chief has the word
"chief". KERAS_EXT_TOKEN is what all must know, KERAS_EXT_LEASE for how many seconds a
worker may be silent, and KERAS_EXT_FRESH makes it end after each trial.
"""

import ipaddress
import os

from keras_tuner.src.distribute.utils import has_chief_oracle, is_chief_oracle

from keras_ext._core._checks import number, require
from keras_ext.distribute import _messages

_LEASE = "KERAS_EXT_LEASE"
FRESH = "KERAS_EXT_FRESH"
# The exit status of a process that leaves the next trial to a new one.
# EX_TEMPFAIL of sysexits.h.
NEXT_PROCESS = 75


def is_worker() -> bool:
    """Whether another process decides which trials are run here."""
    return bool(has_chief_oracle()) and not is_chief_oracle()


def is_chief() -> bool:
    """Whether this process decides which trials others run."""
    return bool(is_chief_oracle())


def chief_address() -> tuple[str, int]:
    """Where the chief listens.

    Raises:
        ValueError: If that is another machine, or open to others, and there is no
            token.
    """
    host, port = (
        os.environ["KERASTUNER_ORACLE_IP"],
        os.environ["KERASTUNER_ORACLE_PORT"],
    )
    require(
        _is_loopback(host) or _messages.token() != "",
        "KERASTUNER_ORACLE_IP",
        host,
        "127.0.0.1 without a token",
        f"Give all processes the same secret as {_messages.TOKEN}.",
    )
    is_port = port.isdigit() and 0 < int(port) < 2**16
    require(is_port, "KERASTUNER_ORACLE_PORT", port, "a port")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def lease() -> float:
    """For how many seconds a worker may be silent before its trial goes to another."""
    text = os.environ.get(_LEASE, "30")
    try:
        seconds: float | str = float(text)
    except ValueError:
        seconds = text
    return float(number(seconds, _LEASE, above=0))
