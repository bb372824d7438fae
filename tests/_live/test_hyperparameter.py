import keras
import pytest

from keras_ext._keras._dropout_internals import inner_dropout
from keras_ext._live._find_hyperparameters import find_hyperparameters


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.2, name="drop")])


def test_is_live_until_it_is_plain(model):
    (found,) = find_hyperparameters(model)
    before = set(vars(found.owner))
    live = found.make_live(model)
    live.assign(0.4)
    (again,) = find_hyperparameters(model)
    assert again.live is live
    assert again.make_live(model) is live
    assert type(found.owner.get_config()["rate"]) is float
    again.make_plain()
    assert type(found.owner.rate) is float
    assert found.owner.rate == pytest.approx(0.4)
    assert set(vars(found.owner)) == before


def test_nothing_is_left_inside_attention():
    attention = keras.layers.MultiHeadAttention(1, 2, dropout=0.2, name="attention")
    inputs = keras.Input((3, 2))
    model = keras.Model(inputs, attention(inputs, inputs))
    (found,) = find_hyperparameters(model)
    inner = inner_dropout(attention)
    before = set(vars(attention)), set(vars(inner))
    found.make_live(model)
    (again,) = find_hyperparameters(model)
    again.make_plain()
    assert (set(vars(attention)), set(vars(inner))) == before
