"""What only `pytest --thorough` runs, by rule: each marker has one of these reasons.

    @pytest.mark.thorough(MATRIX)

The rules are about what a check costs and tells, never about single results. A property
of a mechanism is checked without the marker on one unit that has it.
"""

import pytest

# A way to run (XLA, replicas, precision, eager, saved and loaded) that the default run
# checks on one unit of each mechanism, here for all the other units.
MATRIX = "all units in all ways to run"

# Two or more processes that train together. The default run has one such pair.
PROCESSES = "more processes"

# A mean or a probability that takes many draws or many steps to show.
STATISTICS = "many draws"

# Several whole trainings for one assertion about where they end.
TRAININGS = "several trainings"

# Longer than half a second on a quiet core, where shorter tests of the unit remain.
LONG = "long"

# A page or an example whose code trains for longer than a few seconds. The default run
# has the others, and `.ci/run` all.
PAGES = "long pages"

REASONS = {LONG, MATRIX, PROCESSES, STATISTICS, TRAININGS, PAGES}


def thorough_but(representative, values, reason=MATRIX):
    """Parameters of a test: only what is representative runs without `--thorough`."""
    mark = pytest.mark.thorough(reason)
    assert set(representative) <= set(values)
    return [
        value if value in representative else pytest.param(*_each(value), marks=mark)
        for value in values
    ]


def _each(value):
    """The values of several parameters, or of one."""
    return value if isinstance(value, tuple) else (value,)
