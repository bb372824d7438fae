"""Drop-ins are of the classes whose place they take."""

import keras_tuner
import pytest

import keras_ext as kx
from keras_ext.tuner._drop_ins import split

NAMES = ("RandomSearch", "GridSearch", "Hyperband", "BayesianOptimization")


@pytest.mark.parametrize("name", NAMES)
def test_is_one_of_keras_tuner_with_an_oracle_of_both(name, build):
    search = getattr(kx.tuner, name)(build, "loss")
    assert isinstance(search, getattr(keras_tuner, name))
    stock = getattr(keras_tuner.oracles, f"{name}Oracle")
    assert isinstance(search.oracle, stock)
    assert isinstance(search.oracle, kx.tuner.Oracle)
    assert [hp.name for hp in search.oracle.get_space().space] == ["rate"]


def test_arguments_go_where_they_belong_and_unknown_ones_are_refused(build):
    given = {"scheduler": 1, "directory": "a", "max_retries_per_trial": 2}
    oracle, tuner = split(given)
    assert set(oracle) == {"scheduler", "max_retries_per_trial"}
    assert set(tuner) == {"directory"}
    with pytest.raises(ValueError, match="nonsense"):
        kx.tuner.RandomSearch(build, "loss", nonsense=1)
