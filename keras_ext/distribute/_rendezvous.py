"""Waits until all workers are there, or says which of them are not.

TensorFlow would wait an hour for a worker that never comes, and fail in unclear ways
if two workers disagree about who they are. So before it is started, every worker says
what it believes to the first one, at the port that will then be TensorFlow's.
"""

import json
import socket
import time
from typing import Any

from keras_ext.distribute._cluster import Cluster

_RETRY = 0.1
# How long somebody who has come may take to say what he is, in seconds.
_HEARING = 5.0


def rendezvous(cluster: Cluster, facts: dict[str, Any], timeout: float) -> None:
    """Returns when all workers have called it with the same facts.

    Args:
        cluster: The cluster, of which the first worker is the meeting point.
        facts: What all have to agree about; JSON.
        timeout: How long to wait, in seconds.

    Raises:
        RuntimeError: If the workers do not come in time, or disagree.
    """
    if len(cluster.addresses) == 1:
        return
    deadline = time.monotonic() + timeout
    facts = {**facts, "workers": list(cluster.addresses)}
    if cluster.index == 0:
        _receive(cluster, facts, deadline, timeout)
    else:
        _report(cluster, facts, deadline, timeout)


def _receive(
    cluster: Cluster, facts: dict[str, Any], deadline: float, timeout: float
) -> None:
    """The first worker: hears all others, and then lets them go, or tells why not."""
    port = int(cluster.addresses[0].rpartition(":")[2])
    waiting: list[Any] = []
    missing = set(range(1, len(cluster.addresses)))
    problem = ""
    with socket.create_server(("", port)) as server:
        while missing and not problem:
            server.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                who = ", ".join(f"{i} ({cluster.addresses[i]})" for i in missing)
                problem = f"No word within {timeout:g} seconds from worker {who}."
                break
            said = _read(connection, min(deadline, time.monotonic() + _HEARING))
            if said is None:  # Not a worker.
                connection.close()
                continue
            waiting.append(connection)
            problem = _difference(said, facts, missing)
            missing.discard(said.get("index"))
        for connection in waiting:
            _send(connection, {"problem": problem})
        for connection in waiting:
            # The side that closes first keeps the port for a while.
            _read(connection, time.monotonic() + 5)
            connection.close()
    if problem:
        raise RuntimeError(problem)


def _difference(said: dict[str, Any], facts: dict[str, Any], missing: set[int]) -> str:
    number = said.get("index")
    for name, own in facts.items():
        if said.get(name) != own:
            return (
                f"The workers disagree about {name}: "
                f"{own!r} at worker 0, {said.get(name)!r} at worker {number}."
            )
    return "" if number in missing else f"Two workers believe to be number {number}."


def _report(
    cluster: Cluster, facts: dict[str, Any], deadline: float, timeout: float
) -> None:
    """The other workers: tell the first one, and wait for its word."""
    host, _, port = cluster.addresses[0].rpartition(":")
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise RuntimeError(
                f"Worker 0 ({cluster.addresses[0]}) could not be reached within "
                f"{timeout:g} seconds."
            )
        try:
            connection = socket.create_connection((host, int(port)), min(left, 5))
        except OSError:
            time.sleep(_RETRY)
            continue
        with connection:
            _send(connection, {"index": cluster.index, **facts})
            # The first worker has the same time, and ends its waiting with a word.
            answer = _read(connection, deadline + 5)
        if answer is not None:
            break
        time.sleep(_RETRY)
    if answer["problem"]:
        raise RuntimeError(answer["problem"])


def _send(connection: Any, message: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        return


def _read(connection: Any, deadline: float) -> dict[str, Any] | None:
    """One line of JSON, or None if it does not come."""
    text = b""
    try:
        while not text.endswith(b"\n"):
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            part = connection.recv(65_536)
            if not part:
                return None
            text += part
        said = json.loads(text)
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None
