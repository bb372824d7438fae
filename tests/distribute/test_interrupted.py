"""A worker that is killed, the others, and what becomes of the training."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_ext.distribute import launch
from tests.distribute import interrupted
from tests.distribute.trainings import X, Y, network
from tests.thorough import PROCESSES

ROOT = Path(__file__).parents[2]
# What must not happen would take longer than what a busy machine may take.
PATIENCE = 300


@pytest.fixture
def started(tmp_path):
    """Returns a function that starts two workers, which do not outlive the test."""
    processes = []

    def start(victim):
        addresses = [f"127.0.0.1:{port}" for port in launch.free_ports(2)]
        new = []
        for index in (0, 1):
            task = {"type": "worker", "index": index}
            config = {"cluster": {"worker": addresses}, "task": task}
            new.append(
                subprocess.Popen(
                    [sys.executable, interrupted.__file__, tmp_path, str(victim)],
                    env=dict(
                        os.environ,
                        TF_CONFIG=json.dumps(config),
                        PYTHONPATH=str(ROOT),
                        CUDA_VISIBLE_DEVICES="",
                    ),
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        processes.extend(new)
        return new

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.thorough(PROCESSES)
def test_the_others_fail_in_time_and_all_go_on_when_started_again(started, tmp_path):
    # With the first worker, which the others would notice at once, it is the same.
    survivor, victim = started(1)
    _, error = survivor.communicate(timeout=PATIENCE)
    assert victim.wait(1) == -signal.SIGKILL
    assert survivor.returncode == 1
    assert "UnavailableError" in error
    assert "start all workers again" in error
    killed, ended = (float((tmp_path / f).read_text()) for f in ("killed", "ended-0"))
    assert ended - killed < 30

    for process in started(1):
        _, error = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, error
    # Without a disturbance, in one process.
    model = network(keras.optimizers.Adam(0.01))
    model.fit(X, Y, batch_size=32, epochs=4, shuffle=False, verbose=0)
    for index in (0, 1):
        found = np.load(tmp_path / f"weights-{index}.npz")
        assert found["epochs"].tolist() == [2, 3]
        for number, wanted in enumerate(model.get_weights()):
            np.testing.assert_allclose(found[f"arr_{number}"], wanted, atol=1e-5)
    # The chief has removed its backup, and the others have never had one.
    assert not (tmp_path / "backup").exists()
