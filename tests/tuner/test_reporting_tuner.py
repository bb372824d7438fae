"""That a search which is shown is the same search. For what is told see other files."""

import keras
import pytest

import keras_ext as kx
from tests.thorough import LONG


def test_what_is_shown_changes_nothing(build, data, capsys):
    scores = []
    for progress in (False, True):
        keras.utils.set_random_seed(0)
        search = kx.tuner.RandomSearch(
            build,
            "loss",
            2,
            seed=0,
            progress=progress,
            project_name=str(progress),
        )
        search.search(**data, epochs=2, **({} if progress else {"verbose": 0}))
        scores.append([trial.score for trial in search.oracle.trials.values()])
    out = capsys.readouterr().out
    assert scores[0] == scores[1]
    assert "s/step" not in out  # `fit` was told to be silent
    assert out.count("after 2 epochs") == 2
    # A search that KerasTuner has shown can be gone on with.
    again = kx.tuner.RandomSearch(build, "loss", 2, project_name="True")
    again.search(**data)


@pytest.mark.thorough(LONG)
def test_tensorboard_is_told_the_hyperparameters(build, data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    search = kx.tuner.RandomSearch(build, "loss", 1, seed=0)
    logs = keras.callbacks.TensorBoard(str(tmp_path / "logs"))
    search.search(**data, epochs=1, verbose=0, callbacks=[logs])
    folder = tmp_path / "logs" / "0" / "execution0"
    found = EventAccumulator(str(folder)).Reload()
    assert "_hparams_/session_start_info" in found.summary_metadata
    metadata = found.summary_metadata["_hparams_/session_start_info"]
    assert b"rate" in metadata.plugin_data.content
