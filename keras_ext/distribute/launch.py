"""Starts a script in several processes on this machine, as workers of one training.

    python -m keras_ext.distribute.launch --workers 2 script.py [arguments]

Each process gets its own TF_CONFIG, with free ports of 127.0.0.1, and all the same
KERAS_EXT_TOKEN, by which they know each other. Their output comes line by line, with
the number of the worker before it. If one fails, the others are ended, and its exit
status is returned. No worker outlives this process, in whatever way it ends.
"""

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

# How long a process may take to end when it is asked to, in seconds.
_GRACE = 5.0
POLL = 0.05
_KEEPER = Path(__file__).with_name("_keeper.py")
# What ends a process that does not expect it, and lets it end others first. SIGHUP
# comes from a terminal that is closed. SIGKILL lets it do nothing: see `_keeper.py`.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the arguments of the command line say, and returns the exit status."""
    options = _parser().parse_args(arguments)
    for attempt in range(options.restarts + 1):
        status = _run(options)
        if status == 0 or attempt == options.restarts:
            break
        again = f"starting all again ({attempt + 1} of {options.restarts})"
        say(sys.stderr, f"[launch] exit status {status}; {again}")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("keras_ext.distribute.launch", "training")
    parser.add_argument(
        "--gpus-per-worker",
        type=at_least(0),
        help="number of GPUs for each process, 0 for none; by default each sees all",
    )
    parser.add_argument(
        "--restarts",
        type=at_least(0),
        default=0,
        help="how often to start all processes again after a failure; default 0",
    )
    return parser


def parser_of(module: str, common: str) -> argparse.ArgumentParser:
    """What reads the command line of a launcher, but for options of its own.

    Args:
        module: Its module.
        common: What its workers do together.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description="Starts a script in several processes, as workers of one "
        f"{common}.",
    )
    parser.add_argument(
        "--workers", type=at_least(1), required=True, help="number of processes"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        help="after how many seconds to end all processes, with status 124",
    )
    parser.add_argument("script", help="the Python file to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """What argparse makes an integer with that is no smaller."""

    def integer(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}")
        return number

    return integer


def _run(options: argparse.Namespace) -> int:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(options.workers)]
    common = token_of_all()
    command = [sys.executable, options.script, *options.arguments]
    with Together() as together:
        for index in range(options.workers):
            environment = _environment(addresses, index, options.gpus_per_worker)
            environment |= common
            together.start(f"worker {index}", command, environment)
        return _wait(list(together.processes.values()), options.timeout)


def token_of_all() -> dict[str, str]:
    """What all processes have to have in their environment to know each other."""
    # Nothing is imported for its name: run as a file, this needs no TensorFlow.
    known = os.environ.get("KERAS_EXT_TOKEN")
    return {"KERAS_EXT_TOKEN": known or secrets.token_hex(16)}


class Together:
    """Processes that end together with this one, in whatever way it ends.

    What they write comes line by line, with their name before it. Leaving the context
    ends those that still run.

    Attributes:
        processes: Those that were started, by their names.
    """

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._all: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []
        self._stack = ExitStack()

    def __enter__(self) -> "Together":
        # Open as long as this process lives; no other inherits the end for writing.
        self._watched, held = os.pipe()
        self._stack.callback(os.close, held)
        self._stack.callback(os.close, self._watched)
        for number in _SIGNALS:
            # What nohup, or a shell for what runs in the background, ignores stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                before = signal.signal(number, _interrupted)
                self._stack.callback(signal.signal, number, before)
        return self

    def __exit__(self, *error: object) -> None:
        # Before the signals are as they were: ending takes a while.
        self._end_all()
        self._stack.close()

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> "subprocess.Popen[str]":
        """Starts one, which takes the place of another of this name."""
        watched = self._watched
        # Isolated and without `site`, it begins at once, whatever is installed.
        keeper = [sys.executable, "-I", "-S", str(_KEEPER), str(watched)]
        process = subprocess.Popen(
            [*keeper, *command],
            env=environment,
            pass_fds=[watched],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A group of its own, to be ended together with its children.
            start_new_session=True,
        )
        self.processes[name] = process
        self._all.append(process)
        self._readers += _forward(process, name)
        return process

    def _end_all(self) -> None:
        _end(self._all)
        for reader in self._readers:
            reader.join(_GRACE)


def free_ports(count: int) -> list[int]:
    """So many different ports of 127.0.0.1 that nobody listens at."""
    with ExitStack() as stack:
        # All are open at the same time, so that none comes twice.
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(count)
        ]
        return [s.getsockname()[1] for s in sockets]


def _environment(addresses: list[str], index: int, gpus: int | None) -> dict[str, str]:
    # What goes into a pipe would come late, in blocks.
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    environment["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    )
    if gpus is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        numbers = visible.split(",") if visible else None
        span = range(index * gpus, (index + 1) * gpus)
        if numbers and len(numbers) < len(addresses) * gpus:
            raise SystemExit(
                f"{len(addresses)} workers with {gpus} GPUs need more than "
                f"CUDA_VISIBLE_DEVICES={visible} has."
            )
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(
            numbers[i] if numbers else str(i) for i in span
        )
    return environment


def _forward(process: "subprocess.Popen[str]", name: str) -> list[threading.Thread]:
    """Starts threads that write what a process writes, with its name."""
    pairs = [(process.stdout, sys.stdout), (process.stderr, sys.stderr)]
    readers = [
        threading.Thread(target=_forward_lines, args=(*pair, name), daemon=True)
        for pair in pairs
    ]
    for reader in readers:
        reader.start()
    return readers


def _forward_lines(source: TextIO, target: TextIO, name: str) -> None:
    with source:
        for line in source:
            say(target, f"[{name}] {line.rstrip()}")


def say(target: TextIO, line: str) -> None:
    """Writes a line, in one piece, so that those of two threads do not mix."""
    # Nobody may be listening any more, after `| head` or a closed terminal. To go on
    # reading is what lets the workers write.
    with suppress(OSError):
        target.write(line + "\n")
        target.flush()


def _wait(processes: list[subprocess.Popen[str]], timeout: float | None) -> int:
    """Returns 0 when all have ended well, or the status of the first that has not."""
    deadline = time.monotonic() + timeout if timeout else float("inf")
    while True:
        codes = [process.poll() for process in processes]
        for index, code in enumerate(codes):
            if code:
                # As a shell says it; `poll` has the signal as a negative number.
                status = code if code > 0 else 128 - code
                say(sys.stderr, f"[launch] worker {index} ended with status {status}")
                return status
        if all(code == 0 for code in codes):
            return 0
        if time.monotonic() > deadline:
            say(sys.stderr, f"[launch] not done within {timeout:g} seconds")
            return 124
        time.sleep(POLL)


def _end(processes: list[subprocess.Popen[str]]) -> None:
    """Ends what still runs, also what the processes have started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _GRACE
        for process in processes:
            try:
                os.killpg(process.pid, number)
            except (ProcessLookupError, PermissionError):
                continue
        while any(process.poll() is None for process in processes):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
