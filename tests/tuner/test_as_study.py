import keras_tuner
import optuna
import pytest

import keras_ext as kx
from keras_ext.tuner._as_study import importances_of


def test_a_study_holds_curves_and_what_was_stopped(ended, tmp_path):
    journal = tmp_path / "journal.log"
    ended.to_study(journal, name="other")
    for _ in range(2):  # the second replaces the first
        made = ended.to_study(journal)
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    storage = optuna.storages.JournalStorage(backend)
    assert sorted(optuna.get_all_study_names(storage)) == ["other", "search"]
    study = optuna.load_study(study_name="search", storage=storage)
    assert len(study.trials) == len(made.trials) == 20
    states = optuna.trial.TrialState
    by_name = {trial.user_attrs["trial"]: trial for trial in study.trials}
    assert by_name["05"].state == states.FAIL
    assert by_name["05"].user_attrs["reason"] == "ValueError: broken <here>"
    frame = ended.to_dataframe().set_index("trial")
    for name, trial in by_name.items():
        row = frame.loc[name]
        if name != "05":
            stopped = row["status"] == "stopped"
            assert trial.state == (states.PRUNED if stopped else states.COMPLETE)
            assert list(trial.intermediate_values) == [*range(1, row["epochs"] + 1)]
            assert trial.value == row["score"]
        assert trial.params["rate"] == row["hp.rate"]
        assert ("momentum" in trial.params) == (row["hp.kind"] == "sgd")


def test_what_explains_the_score_is_important(ended, ended_with_two_objectives):
    (shares,) = importances_of(ended.oracle).values()
    assert set(shares) == {"rate", "kind", "momentum"}
    assert max(shares, key=shares.get) == "rate"
    both = importances_of(ended_with_two_objectives.oracle)
    assert max(both["val_loss"], key=both["val_loss"].get) == "dropout"
    assert max(both["size"], key=both["size"].get) == "width"


@pytest.mark.parametrize("value", [1.0, None], ids=["one score", "few trials"])
def test_where_nothing_can_be_said_nothing_is(searching, value):
    def constant(hp):
        return (hp.Float("x", 0.0, 1.0) if value is None else 1.0) + hp.Fixed("y", 1)

    search = searching(kx.tuner.RandomSearch, constant)(max_trials=3, seed=0)
    if value is not None:
        space = keras_tuner.HyperParameters()
        space.Float("x", 0.0, 1.0)
        search = searching(kx.tuner.RandomSearch, constant)(
            max_trials=6, seed=0, hyperparameters=space, project_name="constant"
        )
    search.search(verbose=0)
    assert importances_of(search.oracle) == {}


def test_arguments_are_checked(ended):
    with pytest.raises(ValueError, match="`storage` must be a path, the URL"):
        ended.to_study(3)
    with pytest.raises(ValueError, match="`name` must be a text"):
        ended.to_study(name="")
