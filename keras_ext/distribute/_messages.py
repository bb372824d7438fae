"""What workers say to each other before they train: short lines, signed.

Whoever accepts a connection greets with a number that is used once. Each line after it
is JSON behind a signature of it, made of that number and the token that all workers
have. So the token itself is never sent, no line can be used a second time, and what a
stranger says is not even parsed.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import socket
import time

from keras_ext._core._typing import Record

TOKEN = "KERAS_EXT_TOKEN"
# The addresses of some thousand workers. A longer line is of no worker.
LONGEST = 262_144
_GREETING = re.compile(rb"keras_ext rendezvous ([0-9a-f]{32})\n")


def token() -> str:
    """The token of the environment, or the empty one."""
    return os.environ.get(TOKEN, "")


def nonce() -> str:
    """A number that is used once, as text."""
    return secrets.token_hex(16)


def greeting(number: str) -> bytes:
    """The first line of the one who accepts a connection."""
    return f"keras_ext rendezvous {number}\n".encode()


def greeted(line: bytes | None) -> str | None:
    """The number in a greeting; None if the line is none."""
    match = _GREETING.fullmatch(line or b"")
    return match[1].decode() if match else None


def signed(message: Record, number: str) -> bytes:
    """The line for a message."""
    text = json.dumps(message).encode()
    return _signature(text, number) + b" " + text + b"\n"


def opened(line: bytes | None, number: str) -> Record | None:
    """The message in a line; None if it is not signed with this number and token."""
    signature, _, text = (line or b"").removesuffix(b"\n").partition(b" ")
    if not hmac.compare_digest(signature, _signature(text, number)):
        return None
    try:
        said = json.loads(text)
    # `json` raises the second one for brackets within too many others.
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _signature(text: bytes, number: str) -> bytes:
    key = token().encode()
    return hmac.digest(key, number.encode() + text, hashlib.sha256).hex().encode()


def send(connection: socket.socket, line: bytes, deadline: float) -> None:
    """Sends a line. That the other one has gone shows when it does not answer."""
    try:
        connection.settimeout(_left(deadline))
        connection.sendall(line)
    except OSError:
        return


def read(
    connection: socket.socket, deadline: float, *, longest: int = LONGEST
) -> bytes | None:
    """One line with its end, or None if it does not come, or is too long."""
    text = bytearray()
    try:
        while not text.endswith(b"\n"):
            connection.settimeout(_left(deadline))
            part = connection.recv(65_536)
            if not part or len(text) + len(part) > longest:
                return None
            text += part
    except OSError:
        return None
    return bytes(text)


def answer_to(
    message: Record,
    number: str,
    connection: socket.socket,
    *,
    sent_by: float,
    answered_by: float,
    longest: int = LONGEST,
) -> Record | None:
    """Sends a message to the one who greeted with a number; None if no answer is its.

    What is signed in return has to have a number of this side in it too.
    """
    own = nonce()
    send(connection, signed({**message, "nonce": own}, number), sent_by)
    return opened(read(connection, answered_by, longest=longest), number + own)


def _left(deadline: float) -> float:
    # A timeout of 0 would make the socket one that does not wait at all.
    return max(deadline - time.monotonic(), 0.001)
