import keras
import pytest

from keras_ext.optimizers import LAMB, RAdam, get


@pytest.mark.parametrize("name", ["RAdam", "radam", "RADAM"])
def test_names_are_found_whatever_their_capitals(name):
    optimizer = get(name, beta_1=0.5)
    assert type(optimizer) is RAdam
    assert optimizer.beta_1 == 0.5


def test_names_of_keras_are_found_and_ours_come_first():
    assert isinstance(get("adamw", weight_decay=0.1), keras.optimizers.AdamW)
    assert type(get("lamb")) is LAMB


def test_optimizers_and_configurations_are_taken_as_in_keras():
    optimizer = RAdam(0.5)
    assert get(optimizer) is optimizer
    again = get(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()


def test_other_things_are_refused():
    with pytest.raises(ValueError, match="Those of this library are") as error:
        get("adamant")
    assert "`identifier` must be the name" in str(error.value)
    with pytest.raises(ValueError, match="a name, for options"):
        get(RAdam(), beta_1=0.5)
    with pytest.raises(ValueError, match="`identifier` must be the name"):
        get(None)
