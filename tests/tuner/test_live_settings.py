"""Names of hyperparameters, and what they move."""

import keras
import keras_tuner
import pytest

from keras_ext.tuner._live_settings import LiveSettings


@pytest.fixture
def model():
    layers = [keras.layers.Dropout(0.1, name=f"dropout_{i}") for i in range(2)]
    model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.01), "mse")
    return model


def space(*names):
    hp = keras_tuner.HyperParameters()
    for name in names:
        hp.Float(name, 0.01, 0.5, sampling="log")
    return hp.space


def test_a_pattern_moves_all_that_it_finds_a_path_one_and_a_function_anything(model):
    seen = []
    settings = LiveSettings(
        model,
        space("rate", "learning_rate", "optimizer/weight_decay", "own"),
        {"rate": "^dropout.*/rate$", "own": lambda m, value: seen.append((m, value))},
    )
    settings.assign(
        {"rate": 0.25, "learning_rate": 0.3, "optimizer/weight_decay": 0.2, "own": 0.4}
    )
    assert [model.get_layer(f"dropout_{i}").get_config()["rate"] for i in (0, 1)] == [
        0.25,
        0.25,
    ]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.3)
    assert float(model.optimizer.weight_decay) == pytest.approx(0.2)
    assert seen == [(model, 0.4)]
    assert settings.bounds["rate"] == (0.01, 0.5)


def test_what_is_not_there_is_said_with_what_there_is(model):
    with pytest.raises(ValueError, match=r"`live` must be a pattern .*dropout_0/rate"):
        LiveSettings(model, space("momentum"), None)
    with pytest.raises(ValueError, match=r"`live` must be a dictionary from names"):
        LiveSettings(model, space("own"), {"other": "rate"})
    with pytest.raises(ValueError, match="`live` must be texts, or functions"):
        LiveSettings(model, space("own"), {"own": 3})


def test_what_has_steps_moves_by_one_at_least_and_stays_on_them(model):
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 0.1, 0.5, step=0.1)
    hp.Float("learning_rate", 1e-3, 1.0, step=10, sampling="log")
    hp.Float("optimizer/weight_decay", 0.0, 1.0)
    settings = LiveSettings(model, hp.space, {"rate": "^dropout"})
    before = {"rate": 0.3, "learning_rate": 0.01, "optimizer/weight_decay": 0.3}
    for factor, expected in (
        (1.2, (0.4, 0.1, 0.36)),
        (0.8, (0.2, 0.001, 0.24)),
        (5, (0.5, 0.1, 1.5)),
        (1, (0.3, 0.01, 0.3)),
    ):
        moved = {name: factor * value for name, value in before.items()}
        found = settings.on_steps(before, moved)
        assert list(found.values()) == pytest.approx(expected)
    last = {**before, "rate": 0.5}
    assert settings.on_steps(last, {**last, "rate": 0.6})["rate"] == 0.5
