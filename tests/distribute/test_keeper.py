"""Real processes that end with a pipe."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_ext.distribute import _keeper

PATIENCE = 100


@pytest.fixture
def kept(tmp_path):
    """Returns a function that starts code, with the end of the pipe that holds it."""
    started = []
    source = Path(_keeper.__file__).read_text()
    impatient = tmp_path / "keeper.py"
    impatient.write_text(source.replace("_GRACE = 5.0", "_GRACE = 0.2"))
    assert impatient.read_text() != source

    def start(code, **arguments):
        watched, held = os.pipe()
        keeper = [sys.executable, "-I", "-S", impatient, str(watched)]
        process = subprocess.Popen(
            [*keeper, sys.executable, "-c", code, str(tmp_path)],
            pass_fds=[watched],
            start_new_session=True,
            text=True,
            **arguments,
        )
        os.close(watched)
        started.append((process, held))
        return process, held

    yield start
    for process, held in started:
        process.kill()
        process.wait()
        try:
            os.close(held)
        except OSError:
            assert process.poll() is not None


def is_running(pid):
    state = Path("/proc", str(pid), "stat")
    # An orphan is buried by process 1, when it comes to it.
    return state.exists() and " Z " not in state.read_text()


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_command_is_the_process_that_was_started(kept):
    """It has no child that it does not know, and no descriptor that is not its own."""
    process, _ = kept(
        "import os, sys\n"
        "try:\n    os.waitpid(-1, os.WNOHANG)\n"
        "except ChildProcessError:\n    print('no child')\n"
        "print(os.getpid(), sorted(os.listdir('/proc/self/fd')), sys.flags.isolated)\n"
        "sys.exit(3)",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    # It ends although the pipe is open: nobody else holds the output.
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert output == f"no child\n{process.pid} ['0', '1', '2', '3'] 0\n"


def test_all_of_the_group_end_with_the_pipe(kept, tmp_path):
    """Also one that does not want to, and what the command has started."""
    process, held = kept(
        "import os, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    pathlib.Path(sys.argv[1], 'child').write_text(str(os.getpid()))\n"
        "time.sleep(600)"
    )
    child = tmp_path / "child"
    wait_until(lambda: child.exists() and child.read_text())
    assert process.poll() is None
    os.close(held)
    assert process.wait(PATIENCE) < 0
    wait_until(lambda: not is_running(child.read_text()))
