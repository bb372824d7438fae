"""How trials run: reported, stopped, interrupted, gone on with."""

import subprocess
import sys

import keras
import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from tests.thorough import LONG, MATRIX, PROCESSES


class Interrupt(keras.callbacks.Callback):
    """Ends the process, as far as a search can tell, at the n-th epoch that it sees."""

    seen = 0

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        type(self).seen += 1
        if type(self).seen == self.at:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _from_the_first(monkeypatch):
    monkeypatch.setattr(Interrupt, "seen", 0)


def search(build, trials=2, tuner=kx.tuner.RandomSearch, **arguments):
    return tuner(build, "loss", trials, seed=0, project_name="project", **arguments)


def epochs_of(made):
    trials = made.oracle.trials
    return [len(trials[i].metrics.get_history("loss")) for i in sorted(trials)]


@pytest.mark.parametrize(
    ("at", "executions"),
    [(2, 1), (5, 2)],
    ids=["the first trial", "the second execution"],
)
def test_an_interrupted_trial_goes_on_at_the_next_epoch(build, data, at, executions):
    """On stock 1.4.8 it begins anew, and of a first trial nothing is found."""
    epochs = []

    class Count(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            epochs.append((epoch, int(self.model.optimizer.iterations)))

    count = 2 if executions == 1 else 1
    fit = {**data, "epochs": 3, "shuffle": False, "verbose": 0}
    first = search(build, count, executions_per_trial=executions)
    with pytest.raises(KeyboardInterrupt):
        first.search(**fit, callbacks=[Count(), Interrupt(at)])
    again = search(build, count, executions_per_trial=executions)
    again.search(**fit, callbacks=[Count()])
    # Each epoch once, of an optimizer that knows all before it.
    assert epochs == [(n, n + 1) for n in range(3)] * 2
    assert epochs_of(again) == [3] * count
    scores = [t.score for t in again.oracle.trials.values()]
    for trial, score in zip(again.oracle.trials.values(), scores, strict=True):
        seen = trial.metrics.get_history("loss")
        assert score == pytest.approx(min(np.mean(o.value) for o in seen))
        assert [len(o.value) for o in seen] == [executions] * 3
    best = again.get_best_models()[0]
    loss = best.evaluate(data["x"], data["y"], verbose=0)
    assert loss < min(scores)  # at the end of the epoch, of which the mean is logged


@pytest.mark.thorough(MATRIX)
def test_two_replicas_go_on_as_one_does(data, strategies):
    def build(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        rate = hp.Float("rate", 1e-3, 0.1)
        model.compile(keras.optimizers.SGD(rate, 0.9), "mse")
        return model

    fit = {**data, "epochs": 3, "shuffle": False, "verbose": 0}
    scores = []
    for replicas, interrupted in ((1, False), (2, True)):
        keras.utils.set_random_seed(0)
        arguments = {
            "distribution_strategy": strategies(replicas),
            "directory": str(replicas),
        }
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                search(build, 1, **arguments).search(**fit, callbacks=[Interrupt(2)])
            keras.utils.set_random_seed(0)
        made = search(build, 1, **arguments)
        made.search(**fit)
        scores.append(made.oracle.trials["0"].score)
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_what_callbacks_remember_goes_on_too(build, data):
    fit = {**data, "epochs": 5, "verbose": 0}
    rates = []

    class Count(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    def callbacks(*more):
        # Never better: it lowers the rate at every second epoch.
        plateau = keras.callbacks.ReduceLROnPlateau(
            "loss", factor=0.5, patience=2, min_delta=1e6
        )
        return [plateau, Count(), *more]

    with pytest.raises(KeyboardInterrupt):
        search(build, 1).search(**fit, callbacks=callbacks(Interrupt(2)))
    search(build, 1).search(**fit, callbacks=callbacks())
    halvings = np.log2(rates[0] / np.array(rates)).round().astype(int)
    assert list(halvings) == [0, 0, 1, 1, 2]


@pytest.mark.thorough(LONG)
def test_a_fit_that_cannot_go_on_begins_anew(build, data):
    class Plain(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, x, y, callbacks):
            return model.fit(x, y, epochs=3, callbacks=callbacks, verbose=0)

    class Twice(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            model.fit(*args, **kwargs)
            return model.fit(*args, **kwargs)

    fit = {"x": data["x"], "y": data["y"]}
    with pytest.raises(KeyboardInterrupt):
        search(Plain(), 1).search(**fit, callbacks=[Interrupt(2)])
    again = search(Plain(), 1)
    again.search(**fit, callbacks=[])
    assert epochs_of(again) == [3]
    Interrupt.seen = 0
    arguments = {**data, "epochs": 2, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        search(Twice(), 2).search(**arguments, callbacks=[Interrupt(4)])
    again = search(Twice(), 2)
    again.search(**arguments)
    history = again.oracle.trials["1"].metrics.get_history("loss")
    assert [len(o.value) for o in history] == [2, 2]  # both times, and none of before


def test_asha_stops_inside_fit(data):
    def build(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        rate = hp.Choice("rate", [0.1, 0.001, 1e30])
        model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=True)
        return model

    asha = kx.tuner.ASHA(factor=2)
    made = search(build, None, kx.tuner.GridSearch, scheduler=asha)
    made.search(**data, epochs=3, verbose=0)
    assert epochs_of(made) == [3, 1, 1]
    assert made.get_best_hyperparameters()[0].get("rate") == 0.1


def test_a_loss_of_nan_ends_a_training(data):
    def build(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        return model

    made = search(build, 1)
    made.search(data["x"], data["y"] * np.nan, epochs=3, verbose=0)
    trial = made.oracle.trials["0"]
    assert (epochs_of(made), trial.status) == ([1], "FAILED")
    assert trial.message == "The objective `loss` was nan."


def test_without_backup_only_the_best_epoch_is_saved(build, data, tmp_path):
    made = search(build, 1, backup=False)
    made.search(**data, epochs=2, verbose=0)
    folder = tmp_path / "project" / "trial_0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "build_config.json",
        "checkpoint.weights.h5",
        "trial.json",
    ]
    assert int(made.get_best_models()[0].optimizer.iterations) == 2


def test_arguments_are_checked(build):
    with pytest.raises(ValueError, match="`oracle` must be an oracle of kx.tuner"):
        kx.tuner.Tuner(keras_tuner.oracles.RandomSearchOracle("loss"), build)
    with pytest.raises(ValueError, match="`hypermodel` must be a function of hp"):
        search(lambda: None)
    with pytest.raises(ValueError, match="`hypermodel` must be"):
        search(None)


SCRIPT = """
import sys
import keras, numpy as np
import keras_ext as kx
def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(hp.Float("rate", 1e-3, 0.1)), "mse")
    return model
class Tell(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print("epoch", epoch, int(self.model.optimizer.iterations), flush=True)
x = np.ones((8, 2), "float32")
search = kx.tuner.RandomSearch(build, "loss", 2, seed=0, project_name="project")
search.search(x, x[:, :1], epochs=6, batch_size=4, verbose=0, callbacks=[Tell()])
print("done", *(t.score for t in search.oracle.trials.values()), flush=True)
"""


@pytest.mark.thorough(PROCESSES)
def test_killed_in_the_first_trial_no_more_than_an_epoch_is_lost(tmp_path):
    seen = []
    for kill_at in (3, None):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in process.stdout:
            if line.startswith("epoch"):
                seen.append(tuple(map(int, line.split()[1:])))
            if kill_at is not None and seen and seen[-1][0] == kill_at:
                process.kill()
                break
        process.wait()
        process.stdout.close()
    assert line.startswith("done")
    assert seen[:4] == [(n, 2 * n) for n in range(4)]
    assert seen[4] in [(3, 6), (4, 8)]
    assert seen[-6:] == [(n, 2 * n) for n in range(6)]
