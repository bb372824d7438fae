import keras
import pytest
import tensorflow as tf

from keras_ext._keras._tracked_along import track_along


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("restored_first", [True, False])
def test_is_read_back(restored_first, model, tmp_path):
    before = set(vars(model))
    undo = track_along(model, lambda: b"content", lambda content: None)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "a"))
    undo()
    undo()
    assert set(vars(model)) == before
    read = []
    if restored_first:
        tf.train.Checkpoint(model=model).read(path).expect_partial()
    undo = track_along(model, lambda: b"", read.append)
    if not restored_first:
        tf.train.Checkpoint(model=model).read(path).expect_partial()
    assert read == [b"content"]


def test_is_written_before_anything_is_read_of_the_model(model, tmp_path):
    def write():
        model.layers[0].bias.assign([7.0, 7.0])
        return b"content"

    track_along(model, write, lambda content: None)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "a"))
    model.layers[0].bias.assign([0.0, 0.0])
    tf.train.Checkpoint(model=model).read(path).expect_partial()
    assert model.layers[0].bias.numpy().tolist() == [7.0, 7.0]
