"""A search in processes; and how the machine is shared among them."""

import os
import subprocess
import sys

import pytest

from keras_ext.tuner import launch
from tests.thorough import PROCESSES

SCRIPT = """
import os, signal, sys, time
import keras, numpy as np
import keras_ext as kx
def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    rate = hp.Float("rate", 1e-3, 0.1)
    model.compile(keras.optimizers.Adam(rate), "mse", run_eagerly=True)
    return model
class Tell(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print("epoch", epoch, int(self.model.optimizer.iterations), flush=True)
        time.sleep(0.05)
        try:
            if epoch == 3:
                os.remove("kill")  # by the first that comes here
                os.kill(os.getpid(), signal.SIGKILL)
        except FileNotFoundError:
            pass
x = np.ones((8, 2), "float32")
search = kx.tuner.RandomSearch(build, "loss", 4, seed=0, project_name="project")
search.search(x, x[:, :1], epochs=6, batch_size=4, verbose=0, callbacks=[Tell()])
if search.is_chief:
    trials = search.oracle.trials.values()
    print("ended", *(t.status for t in trials), flush=True)
    print("epochs", *(len(t.metrics.get_history("loss")) for t in trials), flush=True)
"""


@pytest.mark.thorough(PROCESSES)
@pytest.mark.timeout(400)
def test_a_worker_is_killed_and_another_goes_on_with_its_trial(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "kill").touch()
    done = subprocess.run(
        [sys.executable, "-m", "keras_ext.tuner.launch", "--workers", "2", "script.py"],
        cwd=tmp_path,
        env={**os.environ, "KERAS_EXT_LEASE": "2"},
        capture_output=True,
        text=True,
        timeout=390,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "[chief] ended COMPLETED COMPLETED COMPLETED COMPLETED" in done.stdout
    assert "[chief] epochs 6 6 6 6" in done.stdout
    assert "ended with status -9: started again, 2 times left" in done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if " epoch " in line]
    seen = [(int(line[3]), int(line[4])) for line in lines]
    # Each epoch has all updates of those before it, and one at most was run twice.
    assert all(updates == 2 * epoch for epoch, updates in seen)
    assert len(seen) <= 4 * 6 + 1


def test_no_worker_has_the_cores_of_another(monkeypatch):
    cores = {0, 1, 4, 5, 7}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores, raising=False)
    shares = [launch._share_of_cores(i, 2) for i in range(2)]
    assert set.union(*shares) == cores
    assert not set.intersection(*shares)
    assert [launch._share_of_cores(i, 7) for i in (0, 6)] == [{0}, {1}]


def test_each_worker_has_a_gpu_as_long_as_there_are_enough(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    devices = [launch._share_of_gpus(i)["CUDA_VISIBLE_DEVICES"] for i in range(3)]
    assert devices == ["2", "5", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert launch._share_of_gpus(0) == {}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(os, "listdir", lambda path: ["nvidia1", "nvidia0", "nvidiactl"])
    assert launch._share_of_gpus(1)["CUDA_VISIBLE_DEVICES"] == "1"


def test_each_trial_may_have_a_process_of_its_own(tmp_path, capfd):
    """Whose end is no failure, however many there are."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, sys, time\n"
        "fresh, seen = os.environ['KERAS_EXT_FRESH'], pathlib.Path(sys.argv[1])\n"
        "if os.environ['KERASTUNER_TUNER_ID'] == 'chief':\n"
        "    while not seen.exists() or len(seen.read_text()) < 4: time.sleep(0.02)\n"
        "else:\n"
        "    with seen.open('a') as file: file.write(fresh)\n"
        "    sys.exit(75)\n"
    )
    options = ["--workers", "1", "--restarts", "0", "--fresh", str(script)]
    assert launch.main([*options, str(tmp_path / "seen")]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("sys.exit(7 if role == 'chief' else wait())", 7, ""),
        ("wait() if role == 'chief' else sys.exit(3)", 1, "no worker is left"),
        ("wait()", 124, "not done within 2 seconds"),
    ],
)
def test_how_it_ends(tmp_path, capfd, monkeypatch, code, status, says):
    monkeypatch.setattr(launch, "_GRACE", 0.2)
    start = "import os, sys, time\nrole = os.environ['KERASTUNER_TUNER_ID']\n"
    script = tmp_path / "script.py"
    script.write_text(f"{start}def wait(): time.sleep(100)\n{code}\n")
    limit = ["--timeout", "2"] if status == 124 else []
    options = ["--workers", "2", "--restarts", "1", *limit, str(script)]
    assert launch.main(options) == status
    err = capfd.readouterr().err
    assert says in err
    if status == 1:
        assert err.count("started again, 0 times left") == 2
        assert err.count("given up") == 2
