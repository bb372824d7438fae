"""A training that one worker does not survive at the first attempt.

As a script it takes a folder and the number of the worker that kills itself in the
middle of the third epoch, unless the file `killed` says that it has done so before.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx
from tests.distribute.trainings import X, Y, network


def main(folder, victim):
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    killed = folder / "killed"

    def die(batch, logs):
        if index == victim and len(seen) == 2 and batch == 1 and not killed.exists():
            killed.write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)

    seen = []
    with kx.distribute.MultiWorker(seed=0, timeout=60):
        model = network(keras.optimizers.Adam(0.01))
        callbacks = [
            keras.callbacks.BackupAndRestore(str(folder / "backup")),
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: seen.append(epoch),
                on_train_batch_begin=die,
            ),
        ]
        try:
            model.fit(
                X, Y, batch_size=32, epochs=4, shuffle=False, callbacks=callbacks,
                verbose=0,
            )  # fmt: skip
        finally:
            (folder / f"ended-{index}").write_text(str(time.time()))
        np.savez(folder / f"weights-{index}.npz", *model.get_weights(), epochs=seen)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
