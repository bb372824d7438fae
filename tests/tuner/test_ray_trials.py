"""Trials for Ray Tune: what of them is not Ray and, where it is installed, Ray."""

import contextlib
import math
import os
import pickle
import shutil
import sys
from types import SimpleNamespace

import keras
import keras_tuner
import numpy as np
import pytest

import keras_ext as kx
from tests.thorough import PROCESSES


def conditional(hp):
    """A space with all that has to be translated."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    kind = hp.Choice("kind", ["sgd", "adam"])
    with hp.conditional_scope("kind", ["sgd"]):
        hp.Float("opt/momentum", 0.0, 0.9)
        hp.Int("width", 8, 32, step=8)
    with hp.conditional_scope("kind", ["adam"]):
        hp.Int("width", 1, 3)
    hp.Boolean("bias")
    hp.Fixed("fixed", 3)
    hp.Float("kept", 0.5, 0.999, sampling="reverse_log")
    model.compile("sgd", "mse")
    assert kind in ("sgd", "adam")
    return model


CONFIG = {
    "kind": "sgd",
    "opt.momentum": np.float64(0.5),
    "width": 24,
    "width.2": np.int64(2),
    "bias": True,
    "kept": 0.0,
    "of somebody else": 1,
}


def test_a_configuration_of_ray_has_the_values_that_are_active():
    trials = kx.tuner.RayTrials(conditional, "loss")
    values = trials.to_hyperparameters(CONFIG).values
    expected = {"kind": "sgd", "opt/momentum": 0.5, "width": 24, "bias": True}
    assert values == expected | {"fixed": 3, "kept": pytest.approx(0.5)}
    assert type(values["opt/momentum"]) is float
    other = trials.to_hyperparameters({**CONFIG, "kind": "adam"}).values
    assert other["width"] == 2
    assert "opt/momentum" not in other


def test_what_is_declared_and_what_is_not_given_has_its_default(build):
    space = keras_tuner.HyperParameters()
    space.Int("more", 1, 5, default=4)
    trials = kx.tuner.RayTrials(build, "loss", hyperparameters=space)
    assert trials.to_hyperparameters({"more": 2}).values == {"more": 2, "rate": 1e-3}
    assert trials.to_hyperparameters({}).values == {"more": 4, "rate": 1e-3}


def test_a_hypermodel_of_spaces_travels_to_another_process():
    hypermodel = kx.tuner.SpaceModel(
        kx.tuner.spaces.mlp((4,), 1, residual=[False, True]),
        kx.tuner.spaces.optimization(total_steps=9),
        loss="mse",
    )
    trials = kx.tuner.RayTrials(hypermodel, "val_loss")
    assert repr(trials).startswith("RayTrials(SpaceModel(")
    assert "hyperparameters=" not in repr(trials)
    there = pickle.loads(pickle.dumps(trials))
    config = {"mlp.depth": 3, "mlp.residual": True, "optimization.direction": "lion"}
    values = there.to_hyperparameters(config).values
    assert (values["mlp/depth"], values["mlp/residual"]) == (3, True)
    assert values["optimization/direction"] == "lion"


class Waits(keras.callbacks.Callback):
    """Knows how many epochs it has seen."""

    def on_train_begin(self, logs=None):
        self.seen = 0

    def on_epoch_end(self, epoch, logs=None):
        self.seen += 1
        logs["seen"] = self.seen


class LostError(Exception):
    """The process of a trial is gone."""


def run(trials, folder, data, config, epochs=3, lost_after=math.inf, **kwargs):
    """What was reported; with `lost_after`, until the process was lost."""
    told = []

    def report(values, where):
        assert where == str(folder)
        told.append(values)
        if values["epoch"] == lost_after:
            raise LostError

    given = {**data, "epochs": epochs, "verbose": 0, "callbacks": [Waits()], **kwargs}
    with contextlib.suppress(LostError):
        trials.run(config, str(folder), report, ((), given))
    return told


def test_a_trial_that_is_lost_goes_on_with_the_next_epoch(build, data, tmp_path):
    trials = kx.tuner.RayTrials(build, "loss")
    folder = tmp_path / "whole"
    folder.mkdir()
    keras.utils.set_random_seed(0)
    whole = run(trials, folder, data, {"rate": 0.05})
    assert [told["epoch"] for told in whole] == [1, 2, 3]
    folder = tmp_path / "lost"
    folder.mkdir()
    keras.utils.set_random_seed(0)
    first = run(trials, folder, data, {"rate": 0.05}, lost_after=2)
    # As Ray does: the folder as it was reported, on another machine.
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    rest = run(trials, again, data, {"rate": 0.05})
    assert [*first, *rest] == [pytest.approx(told) for told in whole]
    assert rest[0]["seen"] == 3


def test_values_of_another_trial_bring_their_learning_rate(build, data, tmp_path):
    trials = kx.tuner.RayTrials(build, "loss")
    rates = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(rate=float(made[0]))
    )

    def watched(hp):
        model = build(hp)
        made[:] = [model.optimizer.learning_rate]
        return model

    made = []
    trials = kx.tuner.RayTrials(watched, "loss")
    for rate, epochs in ((0.05, 1), (0.02, 2), (0.02, 3)):
        told = run(trials, tmp_path, data, {"rate": rate}, epochs, callbacks=[watch])
        rates += [values["rate"] for values in told]
    assert rates == pytest.approx([0.05, 0.02, 0.02])


def test_a_rate_that_moved_by_itself_is_kept_when_a_trial_goes_on(
    build, data, tmp_path
):
    made = []

    def watched(hp):
        model = build(hp)
        made[:] = [model.optimizer.learning_rate]
        return model

    halves = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    trials = kx.tuner.RayTrials(watched, "loss")
    for epochs in (1, 2):
        run(trials, tmp_path, data, {"rate": 0.08}, epochs, callbacks=[halves])
    assert float(made[0]) == pytest.approx(0.02)


def test_a_fit_that_takes_no_initial_epoch_starts_over(build, data, tmp_path):
    class Own(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, x, y, batch_size, epochs, callbacks, verbose):
            return model.fit(x, y, batch_size, epochs, verbose, callbacks)

    trials = kx.tuner.RayTrials(Own(), "loss")
    for _ in range(2):
        told = run(trials, tmp_path, data, {"rate": 0.05}, 2)
        assert [values["epoch"] for values in told] == [1, 2]


def test_a_training_that_diverges_ends(build, data, tmp_path):
    trials = kx.tuner.RayTrials(build, "loss")
    data = {**data, "y": data["y"] * np.nan}
    told = run(trials, tmp_path, data, {"rate": 0.05})
    assert [values["epoch"] for values in told] == [1]


def test_an_epoch_without_the_objective_is_not_reported(build, data, tmp_path):
    trials = kx.tuner.RayTrials(build, "val_loss")
    held_out = (data["x"], data["y"])
    told = run(
        trials,
        tmp_path,
        data,
        {"rate": 0.05},
        4,
        validation_data=held_out,
        validation_freq=2,
    )
    assert [values["epoch"] for values in told] == [2, 4]


def test_the_best_model_has_the_weights_of_the_best_epoch(build, data, tmp_path):
    # From the second epoch on, it gets worse.
    worse = keras.callbacks.LearningRateScheduler(lambda epoch: 9.0 if epoch else 0.05)
    trials = kx.tuner.RayTrials(build, "val_loss")
    held_out = (data["x"], data["y"])
    told = run(
        trials,
        tmp_path,
        data,
        {"rate": 0.05},
        callbacks=[worse],
        validation_data=held_out,
    )
    losses = [values["val_loss"] for values in told]
    assert losses[0] == min(losses)
    checkpoint = SimpleNamespace(as_directory=lambda: contextlib.nullcontext(tmp_path))
    result = SimpleNamespace(config={"rate": 0.05}, checkpoint=checkpoint)
    model = trials.best_model(result)
    assert model.evaluate(*held_out, verbose=0) == pytest.approx(losses[0])
    result.checkpoint = None
    with pytest.raises(ValueError, match="`result` must be a result of Ray with a"):
        trials.best_model(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, "loss"), "`hypermodel` must be a function of hp"),
        ((conditional, None), "`objective` must be what is logged"),
        ((conditional, ["loss", "parameters"]), "`objective` must be a single"),
        ((conditional, "own"), "`objective` must be a name that tells"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kx.tuner.RayTrials(*arguments)


def test_without_ray_it_says_how_to_install_it(build, monkeypatch):
    trials = kx.tuner.RayTrials(build, "loss")
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    for ask in (trials.space, trials.trainable):
        with pytest.raises(ImportError, match=r'This needs ray.*keras-ext\[ray\]"'):
            ask()


def ray_tune():
    reason = 'Ray is not installed: pip install "keras-ext[ray]"'
    return pytest.importorskip("ray.tune", reason=reason)


def test_what_ray_draws_lies_in_the_space():
    tune = ray_tune()
    trials = kx.tuner.RayTrials(conditional, "loss")
    space = trials.space()
    assert space.keys() == CONFIG.keys() - {"of somebody else"}
    assert sorted(space["width"].categories) == [8, 16, 24, 32]
    assert {space["width.2"].sample() for _ in range(50)} == {1, 2, 3}
    assert (space["opt.momentum"].lower, space["opt.momentum"].upper) == (0.0, 0.9)
    assert isinstance(space["bias"], tune.search.sample.Categorical)
    kept = trials.to_hyperparameters({**CONFIG, "kept": space["kept"].sample()})
    assert 0.5 <= kept.get("kept") <= 0.999


class Dies(keras.callbacks.Callback):
    """Ends its process at the third epoch, once."""

    def __init__(self, mark):
        super().__init__()
        self.mark = mark

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2 and not os.path.exists(self.mark):
            with open(self.mark, "w"):
                os._exit(1)


@pytest.mark.thorough(PROCESSES)
def test_ray_runs_stops_and_restarts_trials(build, data, tmp_path, monkeypatch):
    tune = ray_tune()
    import ray

    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    root = os.path.dirname(os.path.dirname(kx.__file__))
    environment = {"env_vars": {"PYTHONPATH": root}}
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env=environment,
    )
    try:
        trials = kx.tuner.RayTrials(build, "loss")
        dies = Dies(str(tmp_path / "died"))
        trainable = trials.trainable(**data, epochs=4, verbose=0, callbacks=[dies])
        results = tune.Tuner(
            trainable,
            param_space=trials.space(),
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                num_samples=2,
                scheduler=tune.schedulers.ASHAScheduler(
                    max_t=4, grace_period=1, reduction_factor=2
                ),
            ),
            run_config=tune.RunConfig(
                storage_path=str(tmp_path / "store"),
                failure_config=tune.FailureConfig(max_failures=1),
                verbose=0,
            ),
        ).fit()
    finally:
        ray.shutdown()
    assert results.errors == []
    assert os.path.exists(tmp_path / "died")
    best = results.get_best_result(scope="all")
    told = best.metrics_dataframe
    assert list(told["epoch"]) == [1, 2, 3, 4]
    model = trials.best_model(best)
    assert int(model.optimizer.iterations) == 1 + int(told["loss"].argmin())
