"""What tensorflow-model-optimization has computed, see `fixtures`."""

from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[1] / "fixtures" / "tfmot_pruning.npz"


def arrays(prefix):
    """The arrays whose names begin so, by the rest of their names."""
    with np.load(FILE) as stored:
        return {
            name.removeprefix(prefix): stored[name]
            for name in stored.files
            if name.startswith(prefix)
        }
