"""Two real processes give what one gives."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_ext.distribute import MultiWorker
from tests.distribute import trainings

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "keras_ext" / "distribute" / "launch.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def workers(folder):
    """What two workers found in all trainings; they are started once."""
    command = [sys.executable, LAUNCH, "--workers", "2", "--timeout", "150"]
    subprocess.run(
        [*command, trainings.__file__, folder],
        check=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES=""),
    )
    found = [folder / f"worker-{index}.pickle" for index in (0, 1)]
    return [pickle.loads(path.read_bytes()) for path in found]


def assert_close(found, wanted, tolerance):
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        found,
        wanted,
    )


@pytest.mark.parametrize("training", trainings.ALIKE, ids=lambda t: t.__name__)
def test_two_workers_give_what_one_process_gives(workers, training, tmp_path):
    with MultiWorker(seed=0):
        wanted = training(tmp_path)
    for worker in workers:
        assert_close(worker[training.__name__], wanted, 1e-5)


@pytest.mark.parametrize(
    "training", trainings.ALIKE + trainings.WORKERS_ONLY, ids=lambda t: t.__name__
)
def test_both_workers_log_the_same(workers, training):
    first, second = (worker[training.__name__] for worker in workers)
    assert_close(first, second, 0)
