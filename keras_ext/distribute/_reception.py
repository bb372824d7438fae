"""The first worker's side of the meeting: who comes, who is a worker, what they say."""

import logging
import selectors
import socket
import struct
import time
from dataclasses import dataclass, field

from keras_ext._core._checks import cut, is_integer, shown
from keras_ext._core._typing import Record
from keras_ext.distribute import _messages
from keras_ext.distribute._cluster import Cluster

_log = logging.getLogger(__name__)

# How long somebody who has come may take to say what he is, in seconds.
HEARING = 5.0
# How many may be about to say it. If more come, who has been silent longest must go.
_MOST = 64
# How long workers may take to leave when all is said, in seconds.
_LEAVING = 5.0
_LONGEST_LIST = 300


@dataclass(eq=False)
class _Guest:
    """Somebody who has connected."""

    connection: socket.socket
    until: float
    number: str = field(default_factory=_messages.nonce)
    text: bytes = b""


class Reception:
    """Hears all workers at once, lets them go together, and ignores all strangers.

    Args:
        server: The socket that listens.
        cluster: The cluster, of which this process is the first worker.
        facts: What all have to agree about.
    """

    def __init__(self, server: socket.socket, cluster: Cluster, facts: Record) -> None:
        self._server = server
        self._cluster = cluster
        self._facts = facts
        self._selector = selectors.DefaultSelector()
        self._guests: list[_Guest] = []
        # The index that each worker says, and what it signs its answer with.
        self._workers: dict[_Guest, int] = {}
        self._problem = ""
        self._strangers = 0

    def run(self, timeout: float) -> None:
        """Returns when all workers have come and agree.

        Raises:
            RuntimeError: If they do not, within this time in seconds.
        """
        deadline = time.monotonic() + timeout
        self._server.setblocking(False)
        with self._selector:
            self._selector.register(self._server, selectors.EVENT_READ)
            while (missing := self._missing()) and not self._problem:
                if time.monotonic() >= deadline:
                    self._problem = self._too_late(missing, timeout)
                else:
                    self._wait(deadline)
            for guest in list(self._guests):
                self._turn_away(guest)
        if self._strangers:
            _log.warning("ignored connections from no worker: %d", self._strangers)
        self._let_go()
        if self._problem:
            raise RuntimeError(self._problem)

    def _missing(self) -> list[int]:
        come = set(self._workers.values())
        return [i for i in range(1, len(self._cluster.addresses)) if i not in come]

    def _wait(self, deadline: float) -> None:
        """Until something is said, or somebody has been silent for too long."""
        first = min([deadline, *(guest.until for guest in self._guests)])
        for key, _ in self._selector.select(max(first - time.monotonic(), 0.001)):
            guest = key.data
            if guest is None:
                self._welcome()
            # Others, heard in the same round, may have had this one turned away.
            elif guest in self._guests or guest in self._workers:
                self._hear(guest)
        now = time.monotonic()
        for guest in [g for g in self._guests if g.until <= now]:
            self._turn_away(guest)

    def _welcome(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:  # Gone already.
            return
        connection.setblocking(False)
        guest = _Guest(connection, time.monotonic() + HEARING)
        self._guests.append(guest)
        self._selector.register(connection, selectors.EVENT_READ, guest)
        try:
            connection.send(_messages.greeting(guest.number))
        except OSError:
            self._turn_away(guest)
        if len(self._guests) > _MOST:
            self._turn_away(self._guests[0])

    def _hear(self, guest: _Guest) -> None:
        """Reads what somebody says now, and takes in who has said to be a worker."""
        try:
            part = guest.connection.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        guest.text += part
        ended = guest.text.endswith(b"\n")
        if guest in self._workers:
            # It has ended, or says more than a worker does. Another may take its place.
            del self._workers[guest]
            self._close(guest)
        elif not part or len(guest.text) > _messages.LONGEST:
            self._turn_away(guest)
        elif ended:
            said = _messages.opened(guest.text, guest.number)
            if said is not None and self._is_of_a_worker(said):
                self._take_in(guest, said)
            else:
                self._turn_away(guest)

    def _is_of_a_worker(self, said: Record) -> bool:
        return (
            set(said) == {"index", "nonce", *self._facts}
            and is_integer(said["index"])
            and said["index"] > 0
            and isinstance(said["nonce"], str)
        )

    def _take_in(self, guest: _Guest, said: Record) -> None:
        index = said["index"]
        for other in [g for g, i in self._workers.items() if i == index]:
            # It may have ended, and been started again.
            self._hear(other)
        self._problem = self._problem or self._difference(said)
        self._guests.remove(guest)
        self._workers[guest] = index
        guest.number += said["nonce"]

    def _difference(self, said: Record) -> str:
        index = said["index"]
        for name, own in self._facts.items():
            if said[name] != own:
                return (
                    f"The workers disagree about {name}: {shown(own)} at worker 0, "
                    f"{shown(said[name])} at worker {index}."
                )
        missing = index in self._missing()
        return "" if missing else f"Two workers believe to be number {index}."

    def _too_late(self, missing: list[int], timeout: float) -> str:
        who = ", ".join(f"{i} ({self._cluster.addresses[i]})" for i in missing)
        problem = f"No word within {timeout:g} seconds from worker "
        problem += f"{cut(who, _LONGEST_LIST)}."
        if self._strangers:
            problem += (
                " Connections from no worker, or from one with another "
                f"{_messages.TOKEN}: {self._strangers}."
            )
        return problem

    def _turn_away(self, guest: _Guest) -> None:
        self._strangers += 1
        self._guests.remove(guest)
        self._close(guest)

    def _close(self, guest: _Guest) -> None:
        self._selector.unregister(guest.connection)
        # At once, so that the port is free for TensorFlow.
        now = struct.pack("ii", 1, 0)
        guest.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        guest.connection.close()

    def _let_go(self) -> None:
        """Tells the workers that all have come, or why they cannot begin."""
        deadline = time.monotonic() + _LEAVING
        for guest in self._workers:
            answer = _messages.signed({"problem": self._problem}, guest.number)
            _messages.send(guest.connection, answer, deadline)
        for guest in self._workers:
            # The side that closes first keeps the port for a while.
            _messages.read(guest.connection, deadline)
            guest.connection.close()
