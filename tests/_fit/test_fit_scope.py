import keras
import numpy as np
import pytest

from keras_ext._fit._fit_scope import FitScope, close_scope

X = np.ones((4, 2), "float32")


@pytest.fixture
def model():
    body = keras.layers.Dense(2, name="body")
    model = keras.Sequential([keras.Input((2,)), body, keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def test_everything_is_undone_the_last_thing_first(model):
    done = []
    with FitScope.joining(model, "first") as scope:
        scope.on_close(lambda: done.append("first"))
    with FitScope.joining(model, "second") as scope:
        scope.on_close(lambda: done.append("second"))
        scope.on_finish(lambda: done.append("finish"))
    scope.leave("first")
    assert done == []
    scope.leave("second")
    assert done == ["finish", "second", "first"]
    assert FitScope.present(model) is None


def test_what_fails_while_joining_undoes_it(model):
    done = []

    def join():
        with FitScope.joining(model, "owner") as scope:
            scope.on_close(lambda: done.append("undone"))
            raise KeyError

    with pytest.raises(KeyError):
        join()
    assert done == ["undone"]


def test_who_joins_again_finds_nothing_left_of_the_run_before(model):
    """A loop without `fit` that was interrupted, and one that had begun."""
    done = []
    with FitScope.joining(model, "owner") as scope:
        scope.on_close(lambda: done.append("undone"))
    with FitScope.joining(model, "owner") as again:
        assert done == ["undone"]
        assert again is not scope
    again.begin()
    with FitScope.joining(model, "other") as third:
        assert third is not again
    assert FitScope.present(model) is third
    scope.close()
    third.close()


def look_at_optimizer(scope):
    return scope.optimizer


@pytest.mark.parametrize("needs", [look_at_optimizer, FitScope.begin])
def test_an_optimizer_that_does_not_know_all_weights(model, needs):
    """Found out before training, and a `fit` goes on as if nobody had asked."""
    model.get_layer("body").trainable = False
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(X, X, verbose=0)
    traced = model.train_function
    model.get_layer("body").trainable = True

    def ask():
        with FitScope.joining(model, "owner") as scope:
            needs(scope)

    with pytest.raises(ValueError, match=r"Call model\.compile.*body/kernel"):
        ask()
    assert model.train_function is traced
    assert type(model.optimizer) is keras.optimizers.SGD
    close_scope(model)
    model.fit(X, X, verbose=0)
