"""A script in a fork ends, fails and dies as one in a process of its own."""

import contextlib
import os

import pytest

from tests.forks import Forks
from tests.thorough import PROCESSES

SCRIPTS = {
    "import keras, sys; print(__name__, sys.argv[1:])": (0, "__main__ ['a b']"),
    "import sys; sys.exit('No way.')": (1, "No way."),
    "import sys; sys.exit(3)": (3, ""),
    "1 / 0": (1, "ZeroDivisionError"),
    "import os; os.kill(os.getpid(), 9)": (-9, ""),
}


@pytest.mark.thorough(PROCESSES)
def test_scripts_end_as_they_do_alone(tmp_path):
    with contextlib.closing(Forks(dict(os.environ))) as forks:
        for code, (status, text) in SCRIPTS.items():
            script = tmp_path / "script.py"
            script.write_text(code)
            found, printed = forks.run(script, "a b", folder=tmp_path)
            assert (found, text in printed) == (status, True), (code, printed)
