"""Starts a script in several processes on this machine, as workers of one search.

    python -m keras_ext.tuner.launch --workers 2 script.py [arguments]

The script makes a tuner and calls `search`, as it would alone. One more process runs
it as the chief, which proposes and keeps the results; `tuner.is_chief` is true there,
for what shall be done once after the search. Each worker gets a GPU, or a share of the
cores. Their output comes line by line, with the name of the process before it. A worker
that ends is started again. With `--fresh` each trial has a process of its own: what it
leaves in memory is gone with it. When the chief has ended, the workers are ended, and
its exit status is returned. No process outlives this one, in whatever way it ends.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence

from keras_ext.distribute.launch import (
    POLL,
    Together,
    at_least,
    free_ports,
    parser_of,
    say,
    token_of_all,
)
from keras_ext.tuner._roles import FRESH, NEXT_PROCESS

# How long workers may take to end after the chief, in seconds.
_GRACE = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the arguments of the command line say, and returns the exit status."""
    options = _parser().parse_args(arguments)
    command = [sys.executable, options.script, *options.arguments]
    with Together() as together:
        return _Search(options, command, together).run()


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("keras_ext.tuner.launch", "search")
    parser.add_argument(
        "--restarts",
        type=at_least(0),
        default=3,
        help="how often to start a worker again that has failed; default 3",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="run each trial in a new process, which gives back all of its memory",
    )
    return parser


class _Search:
    """The processes of a search, until the chief has ended."""

    def __init__(
        self, options: argparse.Namespace, command: Sequence[str], together: Together
    ) -> None:
        self._options, self._command, self._together = options, command, together
        (port,) = free_ports(1)
        self._common = {
            "PYTHONUNBUFFERED": "1",
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(port),
            **token_of_all(),
        }
        if options.fresh:
            self._common[FRESH] = "1"
        self._restarts = dict.fromkeys(range(options.workers), options.restarts)
        self._workers: dict[int, subprocess.Popen[str]] = {}

    def run(self) -> int:
        """Returns the exit status of the chief, or why it could not go on."""
        timeout = self._options.timeout
        deadline = time.monotonic() + timeout if timeout else float("inf")
        # The chief trains nothing; TensorFlow would take the memory of all GPUs for it.
        hidden = {"CUDA_VISIBLE_DEVICES": "", "KERASTUNER_TUNER_ID": "chief"}
        environment = {**os.environ, **self._common, **hidden}
        chief = self._together.start("chief", self._command, environment)
        for index in self._restarts:
            self._start(index)
        while chief.poll() is None:
            if time.monotonic() > deadline:
                say(sys.stderr, f"[launch] not done within {timeout:g} seconds")
                # As `timeout` of coreutils.
                return 124
            status = self._look_after()
            if status:
                return status
            time.sleep(POLL)
        self._wait_for_workers()
        code = chief.returncode
        # A negative code is a signal, which shells report so.
        return code if code >= 0 else 128 - code

    def _start(self, index: int) -> None:
        environment = {
            **os.environ,
            **self._common,
            **_share_of_gpus(index),
            "KERASTUNER_TUNER_ID": f"worker-{index}",
        }
        process = self._together.start(f"worker {index}", self._command, environment)
        self._workers[index] = process
        if hasattr(os, "sched_setaffinity"):  # Linux
            cores = _share_of_cores(index, self._options.workers)
            with contextlib.suppress(OSError):  # it has ended already
                os.sched_setaffinity(process.pid, cores)

    def _look_after(self) -> int:
        """Starts workers again; a status if all have failed for good."""
        for index, process in list(self._workers.items()):
            code = process.poll()
            if not code:
                continue
            del self._workers[index]
            if code == NEXT_PROCESS:
                self._start(index)
                continue
            left = self._restarts[index]
            told = f"[launch] worker {index} ended with status {code}"
            if left:
                self._restarts[index] = left - 1
                say(sys.stderr, f"{told}: started again, {left - 1} times left")
                self._start(index)
            else:
                say(sys.stderr, f"{told}: given up")
        if self._workers:
            return 0
        say(sys.stderr, "[launch] no worker is left")
        return 1

    def _wait_for_workers(self) -> None:
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline:
            if all(process.poll() is not None for process in self._workers.values()):
                return
            time.sleep(POLL)


def _share_of_gpus(index: int) -> dict[str, str]:
    """A GPU for each worker, one after the other; nothing where there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        with contextlib.suppress(OSError):
            names = os.listdir("/dev")
            numbers = [re.fullmatch(r"nvidia(\d+)", name) for name in names]
            visible = ",".join(sorted((m[1] for m in numbers if m), key=int))
    gpus = visible.split(",") if visible else []
    if not gpus:
        return {}
    # Two workers may share one.
    growth = os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    device = gpus[index % len(gpus)]
    return {"CUDA_VISIBLE_DEVICES": device, "TF_FORCE_GPU_ALLOW_GROWTH": growth}


def _share_of_cores(index: int, workers: int) -> set[int]:
    """The cores of a worker: none has those of another while there are enough."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < workers:
        return {cores[index % len(cores)]}
    return set(cores[index::workers])


if __name__ == "__main__":
    sys.exit(main())
