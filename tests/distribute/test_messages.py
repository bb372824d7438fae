"""Lines that are signed and bounded."""

import json
import socket
import threading
import time

import pytest

from keras_ext.distribute import _messages
from keras_ext.distribute._messages import greeted, greeting, opened, read, signed


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("KERAS_EXT_TOKEN", "secret")


def test_what_is_signed_can_be_opened_once_and_by_who_knows_the_token(monkeypatch):
    number = _messages.nonce()
    line = signed({"index": 1, "hosts": ["ä:1"]}, number)
    assert opened(line, number) == {"index": 1, "hosts": ["ä:1"]}
    assert b"secret" not in line
    assert opened(line, _messages.nonce()) is None
    monkeypatch.setenv("KERAS_EXT_TOKEN", "Secret")
    assert opened(line, number) is None
    monkeypatch.delenv("KERAS_EXT_TOKEN")
    assert opened(line, number) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b"1", b"2"),
        lambda line: line.replace(b" ", b"  "),
        lambda line: line.partition(b" ")[2],
        lambda line: b"0" + line[1:],
        lambda line: line[:-2],
        lambda line: b"",
        lambda line: None,
    ],
)
def test_what_was_changed_cannot_be_opened(change):
    line = signed({"index": 1}, "7")
    # Of a signature that begins with 0, no change is one.
    line = line if not line.startswith(b"0") else signed({"index": 11}, "7")
    assert opened(change(line), "7") is None


@pytest.mark.parametrize("text", ["[1]", "1", "no", "[" * 200_000, '{"a": 1', "null"])
def test_what_is_signed_and_no_object_is_none(text, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda message: message)
    assert opened(signed(text, "7"), "7") is None


def test_greeting():
    number = _messages.nonce()
    assert greeted(greeting(number)) == number
    for line in (None, b"", b"HTTP/1.1 400\r\n", greeting("7"), greeting(number)[:-1]):
        assert greeted(line) is None


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ([b"one", b" line\n"], b"one line\n"),
        ([b"no end"], None),
        ([], None),
        ([b"x" * _messages.LONGEST], None),
        (
            [b"x" * (_messages.LONGEST - 1) + b"\n"],
            b"x" * (_messages.LONGEST - 1) + b"\n",
        ),
        ([b"x" * _messages.LONGEST + b"\n"], None),
    ],
    ids=["in parts", "without end", "nothing", "too long", "longest", "one more"],
)
def test_read_one_line(said, found):
    ours, theirs = socket.socketpair()

    def say():
        with theirs:
            for part in said:
                theirs.sendall(part)

    thread = threading.Thread(target=say)
    thread.start()
    with ours:
        assert read(ours, time.monotonic() + 60) == found
        # Who does not read to the end lets the other one go.
    thread.join(60)
    assert not thread.is_alive()


def test_read_ends_in_time():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"half a line")
        assert read(ours, time.monotonic() + 0.1) is None
