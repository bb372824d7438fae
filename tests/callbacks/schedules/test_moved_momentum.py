import keras
import pytest

from keras_ext._fit._fit_scope import FitScope
from keras_ext.callbacks.schedules._moved_momentum import FIRST_MOMENT, MovedMomentum


def make_model(optimizer):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", run_eagerly=True)
    return model


@pytest.mark.parametrize(
    ("optimizer", "names"), [("adam", ["beta_1"]), ("sgd", []), ("rmsprop", [])]
)
def test_moves_what_the_optimizer_has_and_gives_it_back(optimizer, names):
    model = make_model(optimizer)
    with FitScope.joining(model, self := object()) as scope:
        value = 0.25
        moved = MovedMomentum(
            scope,
            self,
            model.optimizer,
            FIRST_MOMENT,
            lambda: keras.ops.convert_to_tensor(value),
        )
        moved.refresh()
        assert moved.names == names
        assert all(getattr(model.optimizer, name) == 0.25 for name in names)
        scope.close()
    own = dict.fromkeys(names, 0.9)
    assert {name: getattr(model.optimizer, name) for name in names} == own
