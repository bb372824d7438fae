import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext import gradients as g
from keras_ext import optimizers as o
from tests.optimizers.wrappers.followed import FIXTURE, followed
from tests.thorough import LONG

SCHEDULE = keras.optimizers.schedules.CosineDecay(0.1, 40)


def whole():
    """With all stages that fit together."""
    return o.compose(
        "sgd",
        learning_rate=SCHEDULE,
        momentum=0.9,
        weight_decay=0.01,
        normalize=g.Centralize(include="kernel"),
        clip=[g.ClipByGlobalNorm(2.0), g.SkipNonFinite()],
        perturb=g.AddNoise(scale=0.01, seed=1),
        cautious=True,
        trust_ratio=True,
        operator=o.operators.L1Shrinkage(0.02),
        averaging=lambda inner: o.Lookahead(inner, sync_period=4),
    )


def names(optimizer):
    """The optimizers from the outside in, with the parts of pipelines."""
    found = []
    while optimizer is not None:
        found.append(type(optimizer).__name__)
        parts = getattr(optimizer, "transforms", ())
        wraps = isinstance(
            optimizer, keras.optimizers.Optimizer
        ) and "optimizer" in vars(optimizer)
        if found[-1] == "GradientPipeline":
            found.append([type(part).__name__ for part in parts])
        optimizer = optimizer.optimizer if wraps else None
    return found


def test_the_order_is_that_of_the_house():
    assert names(whole()) == [
        "Lookahead",
        "Proximal",
        "GradientPipeline",
        ["Centralize", "ClipByGlobalNorm", "SkipNonFinite", "AddNoise", "TrustRatio"],
        "Cautious",
        "SGD",
    ]
    assert names(o.compose()) == ["Adam"]
    assert names(o.compose("radam", averaging="lookahead")) == ["Lookahead", "RAdam"]
    free = o.compose("sgd", learning_rate=0.5, averaging="schedule_free")
    assert names(free) == ["ScheduleFree", "SGD"]
    assert names(o.compose("sgd", accumulation_steps=2)) == [
        "GradientPipeline",
        [],
        "SGD",
    ]


def test_it_moves_as_its_stages_do_one_after_the_other():
    """Of plain NumPy, for those without a test against others of their own."""
    composed = o.compose(
        "sgd",
        learning_rate=SCHEDULE,
        weight_decay=0.1,
        clip=1.0,
        trust_ratio=g.TrustRatio(),
        operator=o.operators.L1Shrinkage(1.5),
    )
    path = followed(composed)
    w, b = (np.float64(FIXTURE[f"{n}/weight"]) for n in ("kernel", "bias"))
    rows = zip(*(FIXTURE[f"{n}/gradients"] for n in ("kernel", "bias")), strict=True)
    for step, (dw, db) in enumerate(rows):
        rate = 0.05 * (1 + np.cos(np.pi * min(step, 40) / 40))
        norm = np.sqrt((np.float64(dw) ** 2).sum() + (np.float64(db) ** 2).sum())
        scale = min(1.0, 1.0 / norm)
        move = rate * (scale * dw + 0.1 * w)
        length = np.linalg.norm(move)
        ratio = rate * min(np.linalg.norm(w), 10) / length if length else 1.0
        w = w - ratio * move
        w = np.sign(w) * np.maximum(np.abs(w) - rate * 1.5, 0.0)
        b = b - rate * (scale * db + 0.1 * b)
        np.testing.assert_allclose(path[step], w, atol=2e-5)
    assert np.any(w == 0)


@pytest.mark.thorough(LONG)
def test_it_trains_is_saved_and_goes_on(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(whole(), "mse", run_eagerly=True)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 3)), rng.normal(size=(16, 2))
    model.fit(x, y, 8, verbose=0, shuffle=False, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert names(loaded.optimizer) == names(model.optimizer)
    for each in (model, loaded):
        each.fit(x, y, 8, verbose=0, shuffle=False)
    for a, e in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, e)
    live = kx.hyper_variables(model)
    assert "optimizer/l1_shrinkage/strength" in live


def test_averages_of_keras():
    optimizer = o.compose("sgd", averaging="ema", ema_momentum=0.5, clip=1.0)
    weight = keras.Variable([1.0], name="weight")
    optimizer.apply([tf.ones(1)], [weight])
    assert optimizer.use_ema
    assert optimizer.ema_momentum == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"direction": "nonsense"}, "`direction` must be the name of an optimizer of"),
        ({"clip": 0.0}, "`clip` must be a number > 0, or one of keras_ext.gradients"),
        ({"perturb": g.TrustRatio()}, "`perturb` must be one of keras_ext.gradients"),
        ({"averaging": "swa"}, '`averaging` must be "ema", "lookahead"'),
        ({"averaging": lambda inner: 3}, "a function that returns an optimizer"),
        ({"averaging": "schedule_free"}, "must be one without momentum"),
        ({"averaging": "ema", "trust_ratio": True}, "`averaging` must be another one"),
        (
            {"direction": keras.optimizers.SGD(), "momentum": 0.9},
            r"must be a name, for options.* They are \['momentum'\]",
        ),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        o.compose(**arguments)
