"""Prints what the suite checks, a line for each pair of a unit and a property of it.

A unit is what a test file mirrors, with the case if there are several; a property is
the sentence that the name of the test says. Compare two states of the suite by

    python tests/properties.py > after.txt && diff before.txt after.txt
"""

import contextlib
import io
import re
import sys

import pytest


class Collector:
    """Keeps the names of the tests that pytest finds."""

    def __init__(self):
        self.pairs = set()

    def pytest_collection_finish(self, session):
        self.pairs = {pair(item.nodeid) for item in session.items}


def pair(nodeid):
    """("gradients/adaptive_clip [per=unit]", "keeps the norm") of a test's id."""
    file, _, test = nodeid.partition("::")
    unit = re.sub(r"^tests/|\.py$", "", file).replace("test_", "").replace("/_", "/")
    *_, name = re.sub(r"\[.*", "", test).split("::")
    case = re.search(r"\[.*", test)
    return (
        f"{unit} {case[0]}" if case else unit,
        name.removeprefix("test_").replace("_", " "),
    )


def main():
    collector = Collector()
    options = ["--collect-only", "-qq", "-n0", "--thorough", *sys.argv[1:]]
    with contextlib.redirect_stdout(io.StringIO()):
        status = pytest.main(options, plugins=[collector])
    for unit, property_ in sorted(collector.pairs):
        print(f"{unit}: {property_}")
    return status


if __name__ == "__main__":
    sys.exit(main())
