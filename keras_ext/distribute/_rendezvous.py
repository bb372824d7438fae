"""Waits until all workers are there, or says which of them are not.

TensorFlow would wait an hour for a worker that never comes, and fail in unclear ways
if two workers disagree about who they are. So before it is started, every worker says
what it believes to the first one, at the port that will then be TensorFlow's.
"""

import socket
import time

from keras_ext._core._typing import Record
from keras_ext.distribute import _messages
from keras_ext.distribute._cluster import Cluster
from keras_ext.distribute._listening import host_and_port, listen
from keras_ext.distribute._reception import HEARING, Reception

_RETRY = 0.1
# After having been turned away, so as not to keep the first worker busy.
_LATER_RETRY = 1.0
# For how long the others may still wait for a word when the time is over.
_LAST_WORD = 5.0


def rendezvous(cluster: Cluster, facts: Record, timeout: float) -> None:
    """Returns when all workers have called it with the same facts.

    Only who knows the token of the environment variable KERAS_EXT_TOKEN is a worker;
    without it, anybody who speaks as one. All others are ignored.

    Args:
        cluster: The cluster, of which the first worker is the meeting point.
        facts: What all have to agree about; JSON.
        timeout: How long to wait, in seconds.

    Raises:
        RuntimeError: If the workers do not come in time, or disagree.
    """
    if len(cluster.addresses) == 1:
        return
    facts = {**facts, "workers": list(cluster.addresses)}
    if cluster.index == 0:
        with listen(cluster) as server:
            Reception(server, cluster, facts).run(timeout)
    else:
        _report(cluster, facts, timeout)


def _report(cluster: Cluster, facts: Record, timeout: float) -> None:
    """The other workers: tell the first one, and wait for its word."""
    deadline = time.monotonic() + timeout
    was_reached = False
    while (left := deadline - time.monotonic()) > 0:
        try:
            address = host_and_port(cluster.addresses[0])
            connection = socket.create_connection(address, min(left, HEARING))
        except OSError:
            time.sleep(min(_RETRY, left))
            continue
        with connection:
            answer = _ask(connection, {"index": cluster.index, **facts}, deadline)
        if answer is not None:
            if answer["problem"]:
                raise RuntimeError(answer["problem"])
            return
        was_reached = True
        time.sleep(max(min(_LATER_RETRY, deadline - time.monotonic()), 0.0))
    raise RuntimeError(_unheard(cluster.addresses[0], timeout, was_reached))


def _ask(connection: socket.socket, message: Record, deadline: float) -> Record | None:
    """What the first worker answers to a message; None if it does not listen."""
    soon = min(deadline, time.monotonic() + HEARING)
    number = _messages.greeted(_messages.read(connection, soon))
    if number is None:
        return None
    # The first worker has the same time, and ends its waiting with a word.
    end = deadline + _LAST_WORD
    said = _messages.answer_to(
        message, number, connection, sent_by=deadline, answered_by=end
    )
    if said is None or set(said) != {"problem"}:
        return None
    return said if isinstance(said["problem"], str) else None


def _unheard(address: str, timeout: float, was_reached: bool) -> str:
    within = f"within {timeout:g} seconds"
    if not was_reached:
        return f"Worker 0 ({address}) could not be reached {within}."
    return (
        f"Worker 0 ({address}) did not listen to this worker {within}. Have all "
        f"workers the same {_messages.TOKEN} and the same version of keras_ext?"
    )
