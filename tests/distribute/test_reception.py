"""Strangers at a real port, among workers of threads."""

import json
import logging
import socket
import threading

import pytest

from keras_ext.distribute import _messages, _rendezvous
from keras_ext.distribute._cluster import Cluster
from keras_ext.distribute._rendezvous import rendezvous
from tests.distribute.test_rendezvous import addresses  # noqa: F401

FACTS = {"the number of GPUs": 0}


@pytest.fixture
def first(addresses):  # noqa: F811
    """Starts the first of two workers; returns how to connect, and how to come."""
    pair = addresses[:2]
    host, _, port = pair[0].rpartition(":")
    ended = {}

    def run(index):
        try:
            rendezvous(Cluster(pair, index), dict(FACTS), 20.0)
            ended[index] = None
        except RuntimeError as error:
            ended[index] = str(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in (0, 1)]
    threads[0].start()

    def connect():
        while threads[0].is_alive():
            try:
                return socket.create_connection((host, int(port)))
            except ConnectionRefusedError:
                continue
        return None

    def come():
        """Lets the second worker come, and returns how both have ended."""
        threads[1].start()
        for thread in threads:
            thread.join(60)
        return ended

    yield connect, come
    if threads[0].is_alive() and threads[1].ident is None:
        come()


def worker(number, **changes):
    """What the second worker says, with some of it changed."""
    told = {"index": 1, "nonce": "", "workers": [], **FACTS, **changes}
    return _messages.signed(told, number)


STRANGERS = {
    "nothing": lambda number: b"",
    "HTTP": lambda number: b"GET / HTTP/1.1\r\n\r\n",
    "an empty object": lambda number: b"{}\n",
    "an index that is a list": lambda number: b'{"index": [1]}\n',
    "deep JSON": lambda number: b"[" * 200_000 + b"\n",
    "a line without end": lambda number: b"x" * 2 * _messages.LONGEST,
    "half a line": lambda number: worker(number)[:-9],
    "bytes": lambda number: bytes(range(256)),
    "unsigned": lambda number: json.dumps({"index": 1, **FACTS}).encode() + b"\n",
    "signed for another connection": lambda number: worker(_messages.nonce()),
    # Signed with the right token, and yet of no worker.
    "a list as index": lambda number: worker(number, index=[1]),
    "a flag as index": lambda number: worker(number, index=True),
    "no worker's index": lambda number: worker(number, index=0),
    "too little": lambda number: _messages.signed({"index": 1}, number),
    "too much": lambda number: worker(number, more=1),
}


def test_strangers_are_ignored_and_counted(first, caplog):
    connect, come = first
    guests = [connect() for _ in STRANGERS]
    for guest, said in zip(guests, STRANGERS.values(), strict=True):
        guest.settimeout(20)
        line = said(_messages.greeted(guest.recv(100)))
        try:
            guest.sendall(line)
        except OSError:  # It was shown the door in the middle.
            assert len(line) > _messages.LONGEST
    gone = connect()
    gone.close()
    with caplog.at_level(logging.WARNING):
        assert come() == {0: None, 1: None}
    number = len(STRANGERS) + 1
    assert caplog.messages == [f"ignored connections from no worker: {number}"]
    for guest in guests:
        guest.close()


def test_silent_ones_keep_nobody_waiting(first):
    """Far more than could be heard one after the other, and than may wait at once."""
    connect, come = first
    silent = [connect() for _ in range(200)]
    assert come() == {0: None, 1: None}
    for guest in silent:
        guest.close()


def test_an_answer_that_is_not_the_first_workers_is_none(
    addresses,  # noqa: F811
    monkeypatch,
):
    """Somebody has taken the port of the first worker."""
    monkeypatch.setattr(_rendezvous, "_LATER_RETRY", 0.01)
    host, _, port = addresses[0].rpartition(":")
    said = [
        b"220 mail.example.com\r\n",
        _messages.greeting(_messages.nonce()) + b'{"problem": ""}\n',
        _messages.greeting("7"),
    ]
    with socket.create_server((host, int(port))) as server:

        def answer():
            for line in said:
                connection, _ = server.accept()
                connection.sendall(line)
                connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(RuntimeError, match="did not listen to this worker within"):
            rendezvous(Cluster(addresses, 1), {}, 0.5)
        thread.join(20)
