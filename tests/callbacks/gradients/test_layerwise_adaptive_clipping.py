import copy

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.callbacks import LayerwiseAdaptiveClipping
from tests.thorough import thorough_but


def make_model(optimizer, run_eagerly=True):
    """By default for a few steps, which take less time than to trace one."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            keras.layers.Conv2DTranspose(4, 3, name="transposed"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, name="head"),
        ]
    )
    model.compile(optimizer, "mse", run_eagerly=run_eagerly)
    return model


X = np.random.default_rng(0).normal(size=(32, 8, 8, 2)).astype("float32")
Y = 100 * np.random.default_rng(1).normal(size=(32, 3)).astype("float32")


def test_is_the_transform_in_compile():
    """The callback finds the axes of each layer itself."""
    results = []
    for by_callback in (True, False):
        model = make_model(keras.optimizers.SGD(1.0), run_eagerly=False)
        callbacks = [LayerwiseAdaptiveClipping(0.02, exclude="head")]
        if not by_callback:
            pipeline = kx.optimizers.GradientPipeline(
                keras.optimizers.SGD(1.0),
                transforms=[kx.gradients.AdaptiveClip(0.02, exclude="head")],
                unit_axes=kx.optimizers.unit_axes(model),
            )
            model.compile(pipeline, "mse")
            callbacks = []
        model.fit(X, Y, 8, shuffle=False, callbacks=callbacks, verbose=0)
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_keeps_a_diverging_training_together():
    final = {}
    for name, callbacks in (("plain", []), ("clipped", [LayerwiseAdaptiveClipping()])):
        model = make_model(keras.optimizers.SGD(1.0), run_eagerly=False)
        history = model.fit(X, Y, 8, epochs=5, callbacks=callbacks, verbose=0)
        final[name] = history.history["loss"][-1]
    assert not final["plain"] < 1e6
    assert final["clipped"] < 2e4


@pytest.mark.parametrize(("clipping", "expected"), [(0.0, 1.0), (1e9, 0.0)])
def test_logs_the_fraction_of_units_that_it_clips(clipping, expected):
    model = make_model(keras.optimizers.SGD(1e-6))
    callback = LayerwiseAdaptiveClipping(clipping)
    history = model.fit(X, Y, 8, callbacks=[callback], verbose=0).history
    assert history["clipped_fraction"] == [expected]


RULES = {
    "agc": kx.gradients.AdaptiveClip,
    "autoclip": kx.gradients.AutoClip,
    "adagc": kx.gradients.AdaGC,
    "zclip": kx.gradients.ZClip,
    "norm": kx.gradients.ClipByNorm,
    "global_norm": kx.gradients.ClipByGlobalNorm,
}


# One without a state, and one with a state for each weight.
@pytest.mark.parametrize("rule", thorough_but(["agc", "zclip"], RULES))
def test_a_rule_by_name_is_the_transform_with_its_defaults(rule):
    results, histories = [], []
    for chosen in (rule, RULES[rule]()):
        model = make_model(keras.optimizers.SGD(0.1))
        callback = LayerwiseAdaptiveClipping(rule=chosen)
        histories.append(model.fit(X, Y, 8, callbacks=[callback], verbose=0).history)
        assert type(callback.transform) is RULES[rule]
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    assert histories[0].keys() == {
        "loss",
        "clip_threshold",
        "clipped_fraction",
        "nonfinite_steps",
    }


@pytest.mark.parametrize("rule", ["agc", "autoclip", "adagc", "zclip", "norm"])
def test_per_and_patterns_reach_the_transform(rule):
    callback = LayerwiseAdaptiveClipping(
        rule=rule, per="layer", include="kernel", exclude="depth"
    )
    callback.set_model(make_model("sgd"))
    transform = callback.transform
    assert (transform.per, transform.include) == ("layer", "kernel")
    assert transform.exclude == "depth"


class NoLimit(kx.gradients.ClipByGroupNorm):
    def limits(self, norms, variables):
        return np.inf * keras.ops.ones_like(norms)


def test_logs_the_mean_of_the_thresholds():
    callback = LayerwiseAdaptiveClipping(rule=kx.gradients.ClipByNorm(1.5))
    model = make_model(keras.optimizers.SGD(1e-3))
    history = model.fit(X, Y, 8, callbacks=[callback], verbose=0).history
    assert history["clip_threshold"] == [1.5]
    callback = LayerwiseAdaptiveClipping(rule=NoLimit())
    history = model.fit(X, Y, 8, callbacks=[callback], verbose=0).history
    assert np.isnan(history["clip_threshold"]).all()


def test_any_transform_may_be_the_rule():
    callback = LayerwiseAdaptiveClipping(rule=kx.gradients.Centralize())
    model = make_model(keras.optimizers.SGD(1e-3))
    before = model.get_layer("head").kernel.numpy()
    history = model.fit(X, Y, 8, callbacks=[callback], verbose=0).history
    assert history.keys() == {"loss", "nonfinite_steps"}
    moved = model.get_layer("head").kernel.numpy() - before
    assert np.abs(moved).max() > 1e-3
    np.testing.assert_allclose(moved.mean(0), 0.0, atol=1e-7)


def test_a_transform_can_be_used_again_and_again():
    rule = kx.gradients.AutoClip(percentile=20)
    callback = LayerwiseAdaptiveClipping(rule=rule)
    for _ in range(2):
        model = make_model(keras.optimizers.SGD(0.1))
        model.fit(X, Y, 8, callbacks=[copy.deepcopy(callback), callback], verbose=0)
        assert float(callback.transform.percentile) == 20
        assert callback.transform is not rule
        assert not rule.state


@pytest.mark.parametrize(
    "rule", ["agc", "global_norm", kx.gradients.AdaptiveClip(0.0, exclude="depth")]
)
def test_the_head_can_be_left_out(rule):
    clipping = {"clipping": 0.0} if rule == "agc" else {}
    callback = LayerwiseAdaptiveClipping(rule=rule, exclude_head=True, **clipping)
    model = make_model(keras.optimizers.SGD(1e-9))
    model.fit(X, Y, 8, callbacks=[callback], verbose=0)
    layers = {name.split("/")[0] for name in _left_alone(callback, model)}
    assert layers == ({"head"} if isinstance(rule, str) else {"head", "depthwise"})


def _left_alone(callback, model):
    transform = callback.transform
    gradients = [1e3 * np.ones(v.shape, "float32") for v in model.trainable_variables]
    actual = transform(gradients, model.trainable_variables)
    return [
        v.path.removeprefix(f"{model.name}/")
        for v, a, g in zip(model.trainable_variables, actual, gradients, strict=True)
        if np.array_equal(a, g)
    ]


def test_the_head_of_a_model_that_is_built_by_its_first_step():
    model = keras.Sequential(
        [keras.layers.Dense(4, name="body"), keras.layers.Dense(3, name="head")]
    )
    model.compile(keras.optimizers.SGD(1e-9), "mse")
    callback = LayerwiseAdaptiveClipping(0.0, exclude_head=True)
    model.fit(X.reshape(32, -1), Y, 8, callbacks=[callback], verbose=0)
    layers = {name.split("/")[0] for name in _left_alone(callback, model)}
    assert layers == {"head"}


# Other graphs round otherwise on one and on two replicas, by a little more than this.
@pytest.mark.usefixtures("graphs_as_shipped")
@pytest.mark.parametrize("rule", thorough_but(["adagc"], ["autoclip", "adagc"]))
def test_two_replicas_give_the_weights_of_one(strategies, rule):
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = make_model(keras.optimizers.SGD(0.1), run_eagerly=False)
        callback = LayerwiseAdaptiveClipping(rule=rule, per="layer", exclude_head=True)
        model.fit(X, Y, 8, 2, shuffle=False, callbacks=[callback], verbose=0)
        results.append(model.get_weights())
    for a, e in zip(*results, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)


USED = kx.gradients.AdaptiveClip()
USED.build([], {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clipping": -1}, r"`clipping` must be a number >= 0\. Received: clipping=-1"),
        ({"clipping": "small"}, r"Received: clipping='small'"),
        ({"epsilon": 0}, r"`epsilon` must be a number > 0\. Received: epsilon=0"),
        ({"exclude": 3}, r"`exclude` must be a regular expression, a list of them"),
        ({"include": "("}, r"`include` must be a regular expression.*fails"),
        ({"rule": "clip"}, r"`rule` must be one of \('agc', 'autoclip', .*rule='clip'"),
        ({"rule": kx.gradients.AutoClip}, r"or a transform that is not in use"),
        ({"rule": USED}, r"or a transform that is not in use"),
        (
            {"rule": "norm", "clipping": 0.1},
            r"`clipping` must be left out unless rule=",
        ),
        ({"rule": "norm", "per": "head"}, r"`per` must be \"unit\", \"tensor\", "),
        ({"rule": "global_norm", "per": "unit"}, r"`per` must be \"global\" or None"),
        ({"exclude_head": 1}, r"`exclude_head` must be True or False"),
        (
            {"rule": kx.gradients.AutoClip(), "exclude": "a"},
            r"`exclude` must be None if rule is a transform\. .* Pass it to AutoClip",
        ),
        (
            {"rule": kx.gradients.AutoClip(), "per": "layer"},
            r"`per` must be None if rule is a transform",
        ),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LayerwiseAdaptiveClipping(**arguments)


@pytest.mark.parametrize(
    ("clipping", "verbose", "said"), [(1e-6, 2, 1), (1e-6, 0, 0), (1e3, 2, 0)]
)
def test_says_once_that_most_is_clipped(capsys, clipping, verbose, said):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    clip = LayerwiseAdaptiveClipping(clipping)
    x = np.random.default_rng(0).normal(size=(16, 4))
    model.fit(x, x[:, :3], epochs=2, callbacks=[clip], verbose=verbose)
    lines = [x for x in capsys.readouterr().out.splitlines() if "were clipped" in x]
    assert len(lines) == said
    for line in lines:
        assert line.endswith("100% of the units were clipped: raise `clipping`.")


def test_what_only_measures_is_no_rule():
    with pytest.raises(ValueError, match=r"`rule` must be one of .* or a transform"):
        LayerwiseAdaptiveClipping(rule=kx.signals.LayerStatistics())
