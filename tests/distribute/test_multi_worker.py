"""Two real processes give what one gives."""

import fcntl
import os
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.distribute import MultiWorker
from tests.distribute import trainings
from tests.thorough import PROCESSES, thorough_but

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "keras_ext" / "distribute" / "launch.py"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """One folder for all processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "two-workers"
    folder.mkdir(exist_ok=True)
    return folder


TRAININGS = {
    training.__name__: training
    for training in trainings.ALIKE + trainings.APART + trainings.WORKERS_ONLY
}
more_processes = pytest.mark.thorough(PROCESSES)


def each(names):
    """Runs a test for these trainings, by default for those that are representative."""
    names = [training.__name__ for training in names]
    first = trainings.REPRESENTATIVE.intersection(names)
    return pytest.mark.parametrize("training", thorough_but(first, names, PROCESSES))


@pytest.fixture(scope="session")
def workers(folder, request):
    """What two workers found in the trainings; they are started once."""
    tests = [item for item in request.session.items if "workers" in item.fixturenames]
    names = trainings.REPRESENTATIVE
    if any(test.get_closest_marker("thorough") for test in tests):
        names = [*TRAININGS, "faults"]
    found = [folder / f"worker-{index}.pickle" for index in (0, 1)]
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(path.exists() for path in found):
            launch(folder, names)
    return [pickle.loads(path.read_bytes()) for path in found]


def launch(folder, names):
    command = [sys.executable, LAUNCH, "--workers", "2", "--timeout", "480"]
    subprocess.run(
        [*command, trainings.__file__, folder, *names],
        check=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES=""),
    )


def assert_close(found, wanted, tolerance):
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        found,
        wanted,
    )


@each(trainings.ALIKE)
def test_two_workers_give_what_one_process_gives(workers, training, tmp_path):
    with MultiWorker(seed=0):
        wanted = TRAININGS[training](tmp_path)
    for worker in workers:
        assert_close(worker[training], wanted, 1e-5)


@each(trainings.APART)
def test_two_workers_give_what_two_replicas_give(workers, training, strategies):
    keras.utils.set_random_seed(0)
    with MultiWorker(strategies(2), seed=0):
        wanted = TRAININGS[training](None)
    for worker in workers:
        assert_close(worker[training], wanted, 1e-5)


@each(TRAININGS.values())
def test_both_workers_log_the_same(workers, training):
    first, second = (worker[training] for worker in workers)
    assert_close(first, second, 0)


def test_a_strategy_alone_will_do_for_fit(workers):
    """In its scope, and without one: the model knows its strategy."""
    wanted = trainings.alone(tf.distribute.get_strategy())
    for worker in workers:
        assert_close(worker["alone"], wanted, 1e-5)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux")
def test_servers_of_tensorflow_listen_at_all_addresses(workers):
    """If this fails, the guide warns of what is no more."""
    for worker in workers:
        (address,) = worker["listens"]
        assert set(address) == {"0"}


def test_workers_know_who_they_are(workers):
    for index, worker in enumerate(workers):
        told = [worker[f"chief{when}"] for when in (" before", "", " after")]
        assert told == 3 * [index == 0]
        assert worker["replicas"] == 2


@pytest.mark.parametrize(
    ("training", "updates"),
    [
        ("pipeline", 3 * 96 // 8 // 4),
        # The rest of an update is finished in the next epoch.
        pytest.param("growing_accumulation", 11 + 5 + 3, marks=more_processes),
        pytest.param("dynamic_batches", 12 + 6 + 3, marks=more_processes),
    ],
)
def test_all_was_trained(workers, training, updates):
    assert workers[0][training]["updates"] == updates


@more_processes
def test_all_stop_and_go_on_where_they_should(workers):
    first = workers[0]
    assert 2 <= len(first["stopping"]["history"]["loss"]) < 30
    assert first["files"]["epochs"] == [2, 3]


@more_processes
def test_a_worker_leaves_out_alone_what_is_not_finite(workers):
    for worker in workers:
        found = worker["local_nonfinite"]
        assert found["history"]["nonfinite_steps"] == [0.5, 1.0]
        assert np.isfinite(found["history"]["val_loss"]).all()
    assert_close(workers[0]["local_nonfinite"], workers[1]["local_nonfinite"], 0)


@more_processes
def test_only_the_chief_writes(workers, folder):
    assert {path.name for path in folder.iterdir()} == {
        "backup",
        "best.keras",
        "board",
        "last.keras",
        "log.csv",
        "worker-0.pickle",
        "worker-1.pickle",
    }
    backup = {"latest.weights.h5", "training_metadata.json"}
    assert {path.name for path in (folder / "backup").iterdir()} == backup
    assert len(list((folder / "board").rglob("*.tfevents*"))) == 1
    assert len((folder / "log.csv").read_text().splitlines()) == 3
    for name in ("best", "last"):
        model = keras.models.load_model(folder / f"{name}.keras")
        assert model.predict(trainings.X, verbose=0).shape == (96, 2)


@more_processes
@pytest.mark.parametrize("repair", ["_maybe_symbolic_build", "reduce_per_replica"])
def test_keras_alone_fails(workers, repair):
    """If this fails, the repair is not needed any more."""
    for worker in workers:
        assert "Error" in worker["faults"][repair]


def test_in_one_process_it_is_the_scope_of_a_strategy(strategies):
    with MultiWorker(strategies(2)) as strategy:
        assert tf.distribute.get_strategy() is strategy is strategies(2)
        assert len(keras.Variable(1.0).value.values) == 2
    assert not tf.distribute.has_strategy()


def test_enter_twice(strategies):
    context = MultiWorker(strategies(2))
    with context, context:
        assert tf.distribute.has_strategy()
    assert not tf.distribute.has_strategy()


def test_seed():
    numbers = []
    for seed in (3, 3, 4):
        with MultiWorker(seed=seed):
            numbers.append(float(keras.random.uniform(())))
    assert numbers[0] == numbers[1] != numbers[2]


def test_a_lost_worker_is_explained():
    def fail(error):
        with MultiWorker():
            raise error

    with pytest.raises(tf.errors.UnavailableError) as caught:
        fail(tf.errors.UnavailableError(None, None, "Connection reset by peer"))
    assert "start all workers again" in caught.value.__notes__[0]
    with pytest.raises(KeyError) as caught:
        fail(KeyError("mine"))
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": 2}, "`strategy` must be a tf.distribute.Strategy or one of auto"),
        ({"strategy": "two"}, "`strategy` must be a tf.distribute.Strategy or one of"),
        ({"seed": -1}, r"`seed` must be an integer in \[0, 2\*\*31\) or None"),
        ({"timeout": "long"}, "`timeout` must be a number > 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kx.distribute.MultiWorker(**arguments)
