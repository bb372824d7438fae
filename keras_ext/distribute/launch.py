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
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

# How long a process may take to end when it is asked to, in seconds.
_GRACE = 5.0
_POLL = 0.05
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
        _say(sys.stderr, f"[launch] exit status {status}; {again}")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m keras_ext.distribute.launch",
        description="Starts a script in several processes, as workers of one training.",
    )
    parser.add_argument(
        "--workers", type=_at_least(1), required=True, help="number of processes"
    )
    parser.add_argument(
        "--gpus-per-worker",
        type=_at_least(0),
        help="number of GPUs for each process, 0 for none; by default each sees all",
    )
    parser.add_argument(
        "--restarts",
        type=_at_least(0),
        default=0,
        help="how often to start all processes again after a failure; default 0",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        help="after how many seconds to end all processes, with status 124",
    )
    parser.add_argument("script", help="the Python file to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return parser


def _at_least(least: int) -> Any:
    def integer(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}")
        return number

    return integer


def _run(options: argparse.Namespace) -> int:
    processes: list[subprocess.Popen[str]] = []
    with ExitStack() as stack:
        # Open as long as this process lives; no worker inherits the end for writing.
        watched, held = os.pipe()
        stack.callback(os.close, held)
        stack.callback(_end, processes)
        for number in _SIGNALS:
            # What nohup, or a shell for what runs in the background, ignores stays so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                before = signal.signal(number, _interrupted)
                stack.callback(signal.signal, number, before)
        _start(options, processes, watched)
        readers = _forward(processes)
        status = _wait(processes, options.timeout)
        _end(processes)
        for reader in readers:
            reader.join(_GRACE)
    return status


def _start(
    options: argparse.Namespace,
    processes: list[subprocess.Popen[str]],
    watched: int,
) -> None:
    """Adds the processes one by one; each ends with the pipe that it watches."""
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(options.workers)]
    token = os.environ.get("KERAS_EXT_TOKEN") or secrets.token_hex(16)
    keeper = [sys.executable, "-I", "-S", str(_KEEPER), str(watched)]
    command = [*keeper, sys.executable, options.script, *options.arguments]
    try:
        for index in range(options.workers):
            environment = _environment(addresses, index, options.gpus_per_worker)
            processes.append(
                subprocess.Popen(
                    command,
                    env=dict(environment, KERAS_EXT_TOKEN=token),
                    pass_fds=[watched],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    # A group of its own, to be ended together with its children.
                    start_new_session=True,
                )
            )
    finally:
        os.close(watched)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        # All are open at the same time, so that none comes twice.
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(count)
        ]
        return [s.getsockname()[1] for s in sockets]


def _environment(addresses: list[str], index: int, gpus: int | None) -> dict[str, str]:
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


def _forward(processes: list[subprocess.Popen[str]]) -> list[threading.Thread]:
    """Starts threads that write what the processes write, with their numbers."""
    readers = []
    for index, process in enumerate(processes):
        for source, target in (
            (process.stdout, sys.stdout),
            (process.stderr, sys.stderr),
        ):
            thread = threading.Thread(
                target=_forward_lines, args=(source, target, index), daemon=True
            )
            thread.start()
            readers.append(thread)
    return readers


def _forward_lines(source: Any, target: TextIO, index: int) -> None:
    for line in source:
        _say(target, f"[worker {index}] {line.rstrip()}")


def _say(target: TextIO, line: str) -> None:
    # Nobody may be listening any more, after `| head` or a closed terminal. To go on
    # reading is what lets the workers write.
    with suppress(OSError):
        # In one piece, so that lines of two threads do not mix.
        target.write(line + "\n")
        target.flush()


def _wait(processes: list[subprocess.Popen[str]], timeout: float | None) -> int:
    """Returns 0 when all have ended well, or the status of the first that has not."""
    deadline = time.monotonic() + timeout if timeout else float("inf")
    while True:
        codes = [process.poll() for process in processes]
        for index, code in enumerate(codes):
            if code:
                status = code if code > 0 else 128 - code
                _say(sys.stderr, f"[launch] worker {index} ended with status {status}")
                return status
        if all(code == 0 for code in codes):
            return 0
        if time.monotonic() > deadline:
            _say(sys.stderr, f"[launch] not done within {timeout:g} seconds")
            return 124
        time.sleep(_POLL)


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
            time.sleep(_POLL)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
