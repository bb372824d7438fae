"""Runs Python scripts, each as in a process of its own, and imports TensorFlow once.

Run: `python tests/forks.py [-jJOBS] SCRIPT... [-- ARGUMENT...]`

Each script runs in a fork of a process that has imported `keras_ext` and done nothing
else, and in a folder of its own. What it prints is shown when it ends.
"""

import argparse
import contextlib
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path


class Forks:
    """A process to fork from; `run` starts it when it is first needed."""

    def __init__(self, environment):
        self.environment = environment
        self.process = None

    def run(self, *command, folder):
        """Returns the status of a script with its arguments, and what it printed."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--serve"],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        words = [str(folder), *map(str, command)]
        self.process.stdin.write("\0".join(words) + "\n")
        self.process.stdin.flush()
        status = self.process.stdout.readline()
        assert status, "the process to fork from has died"
        return int(status), Path(folder, "printed.txt").read_text()

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


def prepare():
    """Imports what takes long, and nothing that starts to work by being imported."""
    import matplotlib.pyplot  # noqa: F401

    import keras_ext  # noqa: F401


def fork(folder, script, *arguments):
    """Starts a script in a folder, where what it prints goes into `printed.txt`."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.chdir(folder)
        printed = os.open("printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for old, new in (nothing, 0), (printed, 1), (printed, 2):
            os.dup2(old, new)
        sys.argv = [script, *arguments]
        sys.path[0] = str(Path(script).parent)
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not what the parent has registered for its end.
        os._exit(status)


def serve():
    """For each line, a folder and a command, prints the status as a line."""
    for line in sys.stdin:
        child = fork(*line.rstrip("\n").split("\0"))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run_all(scripts, arguments, jobs, root):
    """Runs scripts side by side, in folders within one; returns those that failed."""
    waiting, running, failed = [*scripts], {}, []
    while waiting or running:
        while waiting and len(running) < jobs:
            script, folder = str(waiting.pop(0).resolve()), tempfile.mkdtemp(dir=root)
            running[fork(folder, script, *arguments)] = script, folder
        child, status = os.wait()
        script, folder = running.pop(child)
        printed = Path(folder, "printed.txt").read_text()
        print(f"-- {Path(script).name}\n{printed}", flush=True)
        failed += [script] if status else []
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scripts", nargs="*", type=Path)
    parser.add_argument("-j", dest="jobs", type=int, default=1)
    parser.add_argument("--serve", action="store_true")
    own = sys.argv[1:]
    arguments = []
    if "--" in own:
        at = own.index("--")
        own, arguments = own[:at], own[at + 1 :]
    given = parser.parse_args(own)
    prepare()
    if given.serve:
        serve()
        return
    with tempfile.TemporaryDirectory() as root:
        failed = run_all(given.scripts, arguments, given.jobs, root)
    if failed:
        sys.exit(f"failed: {' '.join(failed)}")


if __name__ == "__main__":
    main()
