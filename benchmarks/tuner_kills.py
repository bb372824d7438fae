"""What does a search lose that is killed at random moments?

A search of small models is started, killed by SIGKILL at a random moment after its
first epoch, and started again in the same folder, until it has ended; then another one
begins. With `--workers` it runs in several processes, and what is killed is the chief,
a worker or the launcher, whichever comes.

Printed are how many kills there were, how many projects could not be opened again, how
many searches ended otherwise than whole, and how many epochs were run twice per kill,
in the mean and at most. With n workers up to n trials lose an epoch if the chief or the
launcher is killed.

Run: `python benchmarks/tuner_kills.py [--kills 100] [--workers 2] [--seed 0]`
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = """
import os, pathlib, time
import keras, numpy as np
import keras_ext as kx
role = os.environ.get("KERASTUNER_TUNER_ID", "alone")
pathlib.Path("pids").mkdir(exist_ok=True)
pathlib.Path("pids", role).write_text(str(os.getpid()))
def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    rate = hp.Float("rate", 1e-3, 0.1)
    model.compile(keras.optimizers.Adam(rate), "mse", run_eagerly=True)
    return model
class Tell(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        rate = float(self.model.optimizer.learning_rate)
        with open("epochs", "a") as file:
            file.write(f"{rate:.9f} {epoch} {int(self.model.optimizer.iterations)}\\n")
        time.sleep(0.02)
x = np.ones((8, 2), "float32")
search = kx.tuner.RandomSearch(build, "loss", 4, seed=0, project_name="project")
search.search(x, x[:, :1], epochs=8, batch_size=8, verbose=0, callbacks=[Tell()])
if search.is_chief:
    trials = search.oracle.trials.values()
    lengths = {len(t.metrics.get_history("loss")) for t in trials}
    whole = len(trials) == 4 and lengths == {8}
    pathlib.Path("ended").write_text("whole" if whole else f"{len(trials)} {lengths}")
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, default=0, help="0 for one process")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    kills, bad, unreadable, repeated = 0, [], [], []
    while kills < options.kills:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "script.py").write_text(SCRIPT)
            done, problems = whole_search(Path(folder), options, draw, kills)
            kills += done
            unreadable += problems
            ended = (Path(folder) / "ended").read_text()
            bad += [ended] if ended != "whole" else []
            seen = (Path(folder) / "epochs").read_text().splitlines()
            twice = sum(count - 1 for count in Counter(seen).values())
            repeated.append((twice, max(done, 1)))
            print(f"{kills} kills, {twice} epochs twice in this search", flush=True)
    epochs, counts = zip(*repeated, strict=True)
    print(f"{kills} kills: {len(unreadable)} projects unreadable, {len(bad)} not whole")
    mean = sum(epochs) / sum(counts)
    most = max(e / c for e, c in repeated)
    print(f"epochs run twice per kill: {mean:.2f}, at most {most:.2f} in a search")
    for text in unreadable + bad:
        print(text)


def whole_search(folder, options, draw, before):
    """Runs a search to its end; returns how often it was killed, and what failed."""
    kills, problems = 0, []
    while not (folder / "ended").exists():
        process, lines = started(folder, options.workers), epochs(folder)
        was_killed = False
        if before + kills < options.kills:
            while process.poll() is None and epochs(folder) == lines:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 1.0))
            if process.poll() is None:
                kills, was_killed = kills + 1, True
                kill(folder, process, options.workers, draw)
        _, err = process.communicate(timeout=600)
        if process.returncode and not was_killed:
            problems.append(err[-500:])
            if len(problems) > 3:
                raise SystemExit("\n".join(problems))
    return kills, problems


def started(folder, workers):
    launcher = ["-m", "keras_ext.tuner.launch", "--workers", str(workers)]
    command = [sys.executable, *(launcher if workers else []), "script.py"]
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": path, "KERAS_EXT_LEASE": "3"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def epochs(folder):
    path = folder / "epochs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def kill(folder, process, workers, draw):
    pids = [process.pid]
    if workers:
        files = sorted((folder / "pids").iterdir())
        pids += [int(file.read_text()) for file in files]
    try:
        os.kill(draw.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return  # of an earlier start


if __name__ == "__main__":
    main()
