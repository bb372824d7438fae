"""Runs a command that ends together with the process that holds a pipe.

    python -I -S _keeper.py DESCRIPTOR COMMAND [ARGUMENTS]

The process becomes the command, with the same number. Beside it, in its process group,
a second one waits for the end of what comes through DESCRIPTOR. Nobody writes there: it
ends when all who hold the other side have ended, also by SIGKILL, which no process can
react to itself. Then the whole group is ended. Of a package whose import takes seconds,
this file imports nothing.
"""

import os
import signal
import sys
import time

# How long the group may take to end when it is asked to, in seconds.
_GRACE = 5.0
_POLL = 0.05


def main(arguments: list[str]) -> None:
    """Starts the watcher, and becomes the command."""
    watched, command = int(arguments[0]), arguments[1:]
    child = os.fork()
    if child == 0:
        # No child of the command: it might wait for all of its own.
        if os.fork() == 0:
            _watch(watched)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(watched)
    os.execv(command[0], command)


def _watch(watched: int) -> None:
    """Waits for the end of the pipe, and ends the group."""
    with open(os.devnull, "r+b", buffering=0) as nowhere:
        # The readers of the output wait until nobody holds it open.
        for stream in (0, 1, 2):
            os.dup2(nowhere.fileno(), stream)
    while os.read(watched, 1):
        pass
    leader = os.getpgrp()
    # The watcher is in the group, and has to outlive the request.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(leader, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE
    while _is_there(leader) and time.monotonic() < deadline:
        time.sleep(_POLL)
    os.killpg(leader, signal.SIGKILL)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
