import keras
import numpy as np
import pytest

from keras_ext._live.places._cells import of_cell

CELLS = [keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell]


@pytest.mark.parametrize("kind", CELLS)
def test_a_rate_that_was_raised_from_0_drops_inputs(kind):
    cell = kind(3, kernel_initializer="ones", seed=0)
    (found,) = of_cell(cell, "rnn")
    assert (found.path, found.value) == ("rnn/dropout", 0.0)
    found.prepare()
    found.places[0](0.75)
    mask = cell.get_dropout_mask(np.ones((50, 40), "float32"))
    for one in mask if isinstance(mask, list) else [mask]:
        # What is left makes up for what is gone.
        assert set(np.unique(one)) == {0.0, 4.0}
        assert np.mean(np.array(one) == 0.0) == pytest.approx(0.75, abs=0.05)


def test_the_rate_of_the_state_is_there_if_there_is_any():
    """Keras has chosen the kernel by it."""
    cell = keras.layers.GRUCell(3, dropout=0.1, recurrent_dropout=0.2)
    found = {h.path: h.value for h in of_cell(cell, "gru")}
    assert found == {"gru/dropout": 0.1, "gru/recurrent_dropout": 0.2}


def test_what_is_no_cell_has_none():
    assert list(of_cell(keras.layers.Dense(3), "")) == []
