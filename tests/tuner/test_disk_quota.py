import os

import pytest

import keras_ext as kx
from keras_ext.tuner._disk_quota import keep_within


@pytest.mark.parametrize(
    ("quota", "left"),
    [(60, "abc"), (59, "ab"), (30, "ab"), (29, "a"), (1, "a")],
)
def test_the_worst_go_first_and_the_best_never(tmp_path, quota, left):
    for name, size in {"a": 10, "b": 20, "c": 30}.items():
        (tmp_path / name).write_bytes(bytes(size))
    paths = [str(tmp_path / name) for name in ("a", "b", "gone", "c")]
    keep_within(quota, paths)
    assert "".join(sorted(os.listdir(tmp_path))) == left
    keep_within(quota, [])


def test_weights_of_a_search_stay_within_it(build, data):
    search = kx.tuner.RandomSearch(build, "loss", 3, seed=0, disk_quota=1)
    search.search(**data, verbose=0)
    trials = search.oracle.get_best_trials(3)
    kept = [os.path.exists(search._get_checkpoint_fname(t.trial_id)) for t in trials]
    assert kept == [True, False, False]
    assert search.get_best_models()[0].built
    with pytest.raises(FileNotFoundError, match="`disk_quota` removes those"):
        search.get_best_models(2)
    with pytest.raises(ValueError, match="`disk_quota` must be None for Hyperband"):
        kx.tuner.Hyperband(build, "loss", disk_quota=1)
