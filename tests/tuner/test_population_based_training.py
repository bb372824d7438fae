"""Members that take over from one another, followed by hand."""

import keras
import numpy as np
import pytest

import keras_ext as kx
from tests.thorough import LONG, MATRIX, TRAININGS, thorough_but

X = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
Y = X @ np.array([[1.0], [-2.0]], "float32")
KEY = "dense/kernel_regularizer/l2"


class Counted(keras.layers.Dense):
    """Counts how often its call runs in Python: in a graph, when it is traced."""

    calls = 0

    def call(self, inputs):
        Counted.calls += 1
        return super().call(inputs)


def build(hp, layer=keras.layers.Dense, **compiled):
    rate = hp.Float("learning_rate", 1e-3, 0.3, sampling="log")
    l2 = hp.Float(KEY, 1e-4, 0.1, sampling="log")
    dense = layer(
        1,
        use_bias=False,
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(l2),
        name="dense",
    )
    model = keras.Sequential([keras.Input((2,)), dense])
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse", **compiled)
    return model


def search(hypermodel, **kwargs):
    given = {"population": 4, "max_epochs": 6, "interval_epochs": 2, "truncation": 0.25}
    given |= {"seed": 3, **kwargs}
    return kx.tuner.PopulationBasedTraining(hypermodel, "loss", **given)


def losses_by_hand(found):
    """Full batches by SGD with momentum, along the lineage that was recorded."""
    trials = list(found.oracle.trials)
    first = [row for row in found.lineage if row["round"] == 1]
    rounds = {row["round"] for row in found.lineage}
    weights = dict.fromkeys(trials, (np.zeros((2, 1)), np.zeros((2, 1))))
    losses = {name: [] for name in trials}
    settings = {row["trial_id"]: None for row in first}
    for interval in range(len(rounds) + 1):
        rows = [row for row in found.lineage if row["round"] == interval]
        before = dict(weights)
        for row in rows:
            weights[row["trial_id"]] = before[row["source"]]
            settings[row["trial_id"]] = row["settings"]
        for name in trials:
            values = settings[name] or found.began[name]
            kernel, velocity = weights[name]
            for _ in range(2):
                error = X @ kernel - Y
                penalty = values[KEY] * (kernel**2).sum()
                losses[name].append(float((error**2).mean() + penalty))
                gradient = 2 * X.T @ error / len(X) + 2 * values[KEY] * kernel
                velocity = 0.9 * velocity - values["learning_rate"] * gradient
                kernel = kernel + velocity
            weights[name] = kernel, velocity
    return losses


def histories(found):
    return {
        name: [o.value[0] for o in trial.metrics.get_history("loss")]
        for name, trial in found.oracle.trials.items()
    }


class Remembering(kx.tuner.PopulationBasedTraining):
    """Knows what its trials began with, which their files say no longer."""

    def on_trial_begin(self, trial):
        super().on_trial_begin(trial)
        began = self.__dict__.setdefault("began", {})
        began[trial.trial_id] = dict(trial.hyperparameters.values)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A search, in graphs, and how often its layers were traced."""
    given = {"population": 4, "max_epochs": 6, "interval_epochs": 2, "truncation": 0.25}
    Counted.calls = 0
    made = Remembering(
        lambda hp: build(hp, Counted),
        "loss",
        seed=3,
        directory=tmp_path_factory.mktemp("search"),
        **given,
    )
    made.search(X, Y, batch_size=8, verbose=0)
    return made


def test_weights_and_momentum_are_taken_over_and_settings_moved(found):
    expected = losses_by_hand(found)
    for name, losses in histories(found).items():
        np.testing.assert_allclose(losses, expected[name], rtol=2e-4)


def test_the_worst_goes_on_as_the_best_with_other_settings(found):
    for number in (1, 2):
        rows = [row for row in found.lineage if row["round"] == number]
        scores = [row["score"] for row in rows]
        best, worst = rows[int(np.argmin(scores))], rows[int(np.argmax(scores))]
        moved = [row for row in rows if row["source"] != row["trial_id"]]
        assert moved == [worst]
        assert worst["source"] == best["trial_id"]
        for hp in found.oracle.get_space().space:
            value = worst["settings"][hp.name]
            assert hp.min_value <= value <= hp.max_value
            assert value != best["settings"][hp.name]


def test_nothing_is_traced_again(found):
    """Once to know the shapes of each model, and a step for all that was trained."""
    symbolic_builds = 4 + 2  # of the members, and those of KerasTuner for the space
    assert Counted.calls <= symbolic_builds + 2


def test_the_best_epoch_is_kept_and_its_settings(found):
    trial = found.oracle.get_best_trials()[0]
    losses = histories(found)[trial.trial_id]
    assert trial.score == min(losses)
    model = found.get_best_models()[0]
    rate = trial.hyperparameters.get("learning_rate")
    assert float(model.optimizer.learning_rate) == pytest.approx(rate)
    assert int(model.optimizer.iterations) == int(np.argmin(losses)) + 1


def eager(hp):
    return build(hp, run_eagerly=True)


SMALL = {"population": 3, "max_epochs": 4, "truncation": 0.34}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    whole = search(eager, directory=tmp_path_factory.mktemp("whole"), **SMALL)
    whole.search(X, Y, batch_size=8, verbose=0)
    return whole


@pytest.mark.parametrize(
    ("epoch", "member"),
    thorough_but([(2, 1)], [(0, 0), (1, 2), (2, 0), (2, 1), (3, 2)]),
)
def test_goes_on_where_it_was_killed(epoch, member, whole):
    class Killed(keras.callbacks.Callback):
        seen = 0

        def on_epoch_end(self, ended, logs=None):
            Killed.seen += ended == epoch
            if ended == epoch and Killed.seen == member + 1:
                raise KeyboardInterrupt

    killed = search(eager, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        killed.search(X, Y, batch_size=8, verbose=0, callbacks=[Killed()])
    again = search(eager, **SMALL)
    again.search(X, Y, batch_size=8, verbose=0)
    assert again.lineage == whole.lineage
    assert histories(again) == histories(whole)
    # And once more, with nothing left to do.
    search(eager, **SMALL).search(X, Y, batch_size=8, verbose=0)
    assert histories(again) == histories(whole)


def validated(freq, **kwargs):
    made = kx.tuner.PopulationBasedTraining(
        eager, "val_loss", interval_epochs=2, seed=3, **{**SMALL, **kwargs}
    )
    data = {"validation_data": (X, Y), "validation_freq": freq}
    made.search(X, Y, batch_size=8, verbose=0, **data)
    return made


@pytest.mark.thorough(LONG)
@pytest.mark.thorough(TRAININGS)
def test_epochs_without_the_objective_are_not_compared():
    found = validated(2)
    trials = found.oracle.trials.values()
    seen = [trial.metrics.get_history("val_loss") for trial in trials]
    assert [[o.step for o in history] for history in seen] == [[1, 3]] * 3
    # Compared by the last epoch that has it: that of the end of the interval.
    values = [history[0].value[0] for history in seen]
    assert [row["score"] for row in found.lineage] == values
    best = found.oracle.get_best_trials()[0]
    loss = found.get_best_models()[0].evaluate(X, Y, verbose=0)
    assert best.score == pytest.approx(loss)
    # Nothing is compared at the end, which may lack it.
    assert len(validated(2, max_epochs=3, project_name="end").lineage) == 3


@pytest.mark.thorough(TRAININGS)
def test_members_that_diverge_do_not_end_the_search_of_the_others():
    """Whichever come first."""

    def wild(hp):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        rate = hp.Float("learning_rate", 1e-3, 1e30, sampling="log")
        model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=True)
        return model

    made = search(wild, population=4, max_epochs=1)
    for rate in (1e30, 1e29, 1e28, 1e-2):
        made.oracle.enqueue({"learning_rate": rate})
    made.search(X, Y, batch_size=2, verbose=0)
    statuses = [trial.status for trial in made.oracle.trials.values()]
    assert statuses == ["FAILED"] * 3 + ["COMPLETED"]


def test_an_interval_without_the_objective_is_an_error():
    with pytest.raises(ValueError, match="`objective` must be logged in each interv"):
        validated(3)


@pytest.mark.thorough(MATRIX)
def test_two_replicas_are_as_one(strategies):
    def plain(hp):
        return build(hp)

    scores = []
    for replicas in (1, 2):
        made = search(
            plain,
            distribution_strategy=strategies(replicas),
            directory=str(replicas),
            **SMALL,
        )
        made.search(X, Y, batch_size=8, verbose=0)
        scores.append([trial.score for trial in made.oracle.trials.values()])
    np.testing.assert_allclose(*scores, rtol=1e-4)


def test_what_cannot_be_moved_is_refused():
    def with_units(hp):
        hp.Int("units", 1, 4)
        return build(hp, run_eagerly=True)

    with pytest.raises(ValueError, match="`units` cannot be moved while a model tra"):
        search(with_units, project_name="units").search(X, Y, verbose=0)

    def unnamed(hp):
        hp.Float("rate_of_something", 0.0, 1.0)
        return build(hp, run_eagerly=True)

    with pytest.raises(ValueError, match="`live` must be a pattern for each hyperp"):
        search(unnamed, project_name="unnamed").search(X, Y, verbose=0)

    def scheduled(hp):
        hp.Float("learning_rate", 0.1, 0.2)
        model = build(hp)
        schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
        model.compile(keras.optimizers.SGD(schedule), "mse", run_eagerly=True)
        return model

    with pytest.raises(ValueError, match="`learning_rate` must be a number, and no"):
        search(scheduled, project_name="scheduled").search(X, Y, verbose=0)


def test_arguments_are_checked():
    for name, value, rule in (
        ("population", 1, "an integer >= 2"),
        ("truncation", 0.6, r"a number in \(0, 0.5\]"),
        ("scheduler", kx.tuner.ASHA(), "left out, or None: a population takes no"),
        ("executions_per_trial", 2, "left out, or 1: a population takes no other"),
        ("cross_validation", 2, "left out, or None: a population takes no other"),
        ("max_retries_per_trial", 1, "left out, or 0: a population takes no other"),
        ("backup", False, "left out, or True: a population takes no other"),
        ("live", ["learning_rate"], "a dictionary or None"),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be {rule}"):
            search(build, **{name: value})
    with pytest.raises(ValueError, match="`epochs` must be left out, or max_epochs=6"):
        search(build).search(X, Y, epochs=3, verbose=0)
