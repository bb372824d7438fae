"""Real processes, most of them without TensorFlow."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.thorough import LONG

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "keras_ext" / "distribute" / "launch.py"
HEAD = """
import json, os, pathlib, signal, sys, time

here = pathlib.Path(sys.argv[1])
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
(here / f"pid-{index}").write_text(str(os.getpid()))
def wait_for(name):
    while not (here / name).exists() or not (here / name).read_text():
        time.sleep(0.01)
"""
# What must not happen would take longer than what a slow machine may take.
PATIENCE = 100


@pytest.fixture
def launch(tmp_path):
    """Returns a function that launches workers with this code."""

    def run(code, *options, workers=2, **arguments):
        script = tmp_path / "script.py"
        script.write_text(HEAD + code)
        return subprocess.run(
            [sys.executable, LAUNCH, "--workers", str(workers), *options]
            + [script, tmp_path, "--of-the-script"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            **arguments,
        )

    return run


def is_alive(path):
    try:
        os.kill(int(path.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_workers_know_each_other(launch):
    done = launch("print(json.dumps(config), *sys.argv[2:])", workers=3)
    assert (done.returncode, done.stderr) == (0, "")
    lines = sorted(done.stdout.splitlines())
    for index, line in enumerate(lines):
        assert line.startswith(f'[worker {index}] {{"cluster": {{"worker": [')
        assert line.endswith("--of-the-script")
        assert f'"task": {{"type": "worker", "index": {index}}}' in line
    addresses = {line.partition("[")[2].partition('"task"')[0][10:] for line in lines}
    assert len(addresses) == 1
    assert len(set(eval(addresses.pop().partition("[")[2].partition("]")[0]))) == 3


def test_lines_keep_their_stream_and_are_not_mixed(launch):
    done = launch(
        "for i in range(500):\n"
        "    print('out', index, 'x' * 50)\n"
        "    print('err', index, file=sys.stderr)"
    )
    out, err = done.stdout.splitlines(), done.stderr.splitlines()
    for index in (0, 1):
        assert out.count(f"[worker {index}] out {index} {'x' * 50}") == 500
        assert err.count(f"[worker {index}] err {index}") == 500
    assert (len(out), len(err)) == (1000, 1000)


def test_one_that_fails_ends_all(launch, tmp_path):
    done = launch("wait_for('pid-0')\nsys.exit(7) if index else time.sleep(600)")
    assert done.returncode == 7
    assert "[launch] worker 1 ended with status 7" in done.stderr
    assert not is_alive(tmp_path / "pid-0")


@pytest.mark.thorough(LONG)
def test_one_that_is_killed_and_one_that_does_not_want_to_end(launch, tmp_path):
    code = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = os.fork() if index == 0 else 1\n"
        "if child == 0:\n"
        "    (here / 'pid-child').write_text(str(os.getpid()))\n"
        "wait_for('pid-child')\n"
        "os.kill(os.getpid(), signal.SIGKILL) if index else time.sleep(600)"
    )
    assert launch(code).returncode == 128 + signal.SIGKILL
    assert not is_alive(tmp_path / "pid-0")
    # A child of a child is buried by process 1, when it comes to it.
    state = Path("/proc", (tmp_path / "pid-child").read_text(), "stat")
    wait_until(lambda: not state.exists() or " Z " in state.read_text())


def test_too_long(launch, tmp_path):
    done = launch("time.sleep(600)", "--timeout", "1")
    assert done.returncode == 124
    assert "[launch] not done within 1 seconds" in done.stderr
    assert not any(map(is_alive, tmp_path.glob("pid-*")))


def test_restarts(launch):
    code = (
        "count = here / f'count-{index}'\n"
        "number = int(count.read_text()) if count.exists() else 0\n"
        "count.write_text(str(number + 1))\n"
        "print('attempt', number)\n"
        "sys.exit(3 if number < 2 else 0)"
    )
    done = launch(code, "--restarts", "2", workers=1)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"[worker 0] attempt {n}" for n in range(3)]
    assert "status 3; starting all again (2 of 2)" in done.stderr


@pytest.fixture
def started(tmp_path):
    """Returns a function that starts two workers with this code, and does not wait."""
    launchers = []

    def start(code, **arguments):
        script = tmp_path / "script.py"
        script.write_text(HEAD + code)
        # As a shell has it: one that runs tests in the background may ignore some.
        found = [(n, signal.signal(n, signal.SIG_DFL)) for n in ENDING]
        command = [sys.executable, LAUNCH, "--workers", "2", script, tmp_path]
        launchers.append(subprocess.Popen(command, **arguments))
        for number, handler in found:
            signal.signal(number, handler)
        pids = [tmp_path / f"pid-{index}" for index in (0, 1)]
        wait_until(lambda: all(p.exists() and p.read_text() for p in pids))
        return launchers[-1], pids

    yield start
    for launcher in launchers:
        launcher.kill()
        launcher.wait()


ENDING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]


@pytest.mark.parametrize("number", ENDING)
def test_ends_its_workers_when_it_is_ended(started, number):
    launcher, pids = started("time.sleep(600)")
    launcher.send_signal(number)
    assert launcher.wait(PATIENCE) == 128 + number
    assert not any(is_alive(p) for p in pids)


def test_workers_end_with_a_launcher_that_could_do_nothing(started):
    launcher, pids = started("time.sleep(600)")
    launcher.kill()
    launcher.wait()
    # They are buried by process 1, when it comes to it.
    states = [Path("/proc", path.read_text(), "stat") for path in pids]
    wait_until(
        lambda: not any(s.exists() and " Z " not in s.read_text() for s in states)
    )


def test_what_a_shell_ignores_stays_ignored(tmp_path):
    """With nohup a training goes on when the terminal is closed."""
    code = "wait_for('go')"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        script = tmp_path / "script.py"
        script.write_text(HEAD + code)
        command = [sys.executable, LAUNCH, "--workers", "1", script, tmp_path]
        launcher = subprocess.Popen(command)
    finally:
        signal.signal(signal.SIGHUP, before)
    pid = tmp_path / "pid-0"
    wait_until(lambda: pid.exists() and pid.read_text())
    launcher.send_signal(signal.SIGHUP)
    (tmp_path / "go").write_text("on")
    assert launcher.wait(PATIENCE) == 0


def test_workers_go_on_when_nobody_reads_what_they_write(started, tmp_path):
    """As after `| head`: a worker that cannot write would wait for ever."""
    launcher, _ = started(
        "for _ in range(20_000):\n    print('x' * 50)\n"
        "(here / f'done-{index}').touch()",
        stdout=subprocess.PIPE,
    )
    launcher.stdout.close()
    launcher.wait(PATIENCE)
    assert len(list(tmp_path.glob("done-*"))) == 2


def test_one_token_for_all_that_the_environment_may_give(launch, monkeypatch):
    code = "print(os.environ['KERAS_EXT_TOKEN'])"
    found = [
        {line.partition("] ")[2] for line in launch(code).stdout.splitlines()}
        for _ in range(2)
    ]
    assert [len(tokens) for tokens in found] == [1, 1]
    assert found[0] != found[1]
    monkeypatch.setenv("KERAS_EXT_TOKEN", "of the cluster")
    assert launch(code, workers=1).stdout == "[worker 0] of the cluster\n"


def test_gpus(launch, monkeypatch):
    code = "print(os.environ['CUDA_VISIBLE_DEVICES'])"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    done = launch(code, "--gpus-per-worker", "2")
    assert sorted(done.stdout.splitlines()) == ["[worker 0] 4,5", "[worker 1] 6,7"]
    assert launch(code, "--gpus-per-worker", "3").returncode == 1
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    done = launch(code, "--gpus-per-worker", "1")
    assert sorted(done.stdout.splitlines()) == ["[worker 0] 0", "[worker 1] 1"]


@pytest.mark.parametrize("workers", [0, -1])
def test_bad_number(launch, workers):
    done = launch("", workers=workers)
    assert done.returncode == 2
    assert "must be an integer >= 1" in done.stderr


@pytest.mark.thorough(LONG)
def test_as_a_module(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(HEAD + "print(index)")
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m"]
        + ["keras_ext.distribute.launch", "--workers", "1", script, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "[worker 0] 0\n"
