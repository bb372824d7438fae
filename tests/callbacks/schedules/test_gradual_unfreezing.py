import keras
import numpy as np
import pytest

from keras_ext.callbacks import GradualUnfreezing
from tests.thorough import LONG, MATRIX, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = RNG.normal(size=(64, 2)).astype("float32")
SCHEDULE = [(2, "top"), (4, "bottom")]


def make_model(optimizer=None, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(4, "tanh", name="bottom"),
            keras.layers.Dense(4, "tanh", name="top"),
            keras.layers.Dense(2, name="head"),
        ],
        name="model",
    )
    model.compile(optimizer or keras.optimizers.SGD(0.1), "mse", **options)
    return model


def fit(model, *callbacks, epochs=6, **options):
    options = {"batch_size": 16, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **options).history


class Watch(keras.callbacks.Callback):
    """Which layers moved in each epoch."""

    def on_train_begin(self, logs=None):
        self.moved, self.traces = [], set()
        self.before = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        after = self.model.get_weights()
        changed = [np.any(a != b) for a, b in zip(after, self.before, strict=True)]
        names = [v.path.split("/")[1] for v in self.model.weights]
        pairs = zip(names, changed, strict=True)
        self.moved.append({name for name, some in pairs if some})
        self.before = after
        self.traces.add(id(self.model.train_function))


@pytest.mark.parametrize("jit_compile", thorough_but([False], [False, True]))
def test_layers_move_from_their_epoch_on(jit_compile):
    watch = Watch()
    model = make_model(keras.optimizers.AdamW(0.01), jit_compile=jit_compile)
    history = fit(model, GradualUnfreezing(SCHEDULE), watch)
    head, both = {"head"}, {"head", "top"}
    assert watch.moved == [head, head, both, both, *[both | {"bottom"}] * 2]
    assert len(watch.traces) == 1
    fractions = [40 / 50, 40 / 50, 20 / 50, 20 / 50, 0.0, 0.0]
    assert history["frozen_fraction"] == pytest.approx(fractions)
    assert history["nonfinite_steps"] == [0] * 6


@pytest.mark.thorough(LONG)
def test_is_what_keras_does_when_it_is_compiled_anew():
    """With plain SGD, which remembers nothing."""
    model = make_model()
    fit(model, GradualUnfreezing(SCHEDULE))
    plain = make_model()
    for frozen in (("bottom", "top"), ("bottom",), ()):
        for layer in plain.layers:
            layer.trainable = layer.name not in frozen
        plain.compile(keras.optimizers.SGD(0.1), "mse")
        fit(plain, epochs=2)
    for a, e in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)


@pytest.mark.thorough(MATRIX)
def test_two_replicas_give_the_weights_of_one(strategies):
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = make_model()
        fit(model, GradualUnfreezing(SCHEDULE))
        results.append(model.get_weights())
    for a, e in zip(*results, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-5)


def test_gives_the_model_its_own_optimizer_back():
    model = make_model(keras.optimizers.Adam(0.01))
    optimizer = model.optimizer
    fit(model, GradualUnfreezing(SCHEDULE), epochs=1)
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 4
    watch = Watch()
    fit(model, watch, epochs=1)
    assert watch.moved == [{"bottom", "top", "head"}]


def test_initial_epoch_is_where_the_schedule_goes_on():
    watch = Watch()
    callback = GradualUnfreezing(SCHEDULE)
    model = make_model()
    fit(model, callback, watch, epochs=3)
    assert watch.moved[-1] == {"head", "top"}
    fit(model, callback, watch, epochs=4, initial_epoch=3)
    assert watch.moved == [{"head", "top"}]


def test_the_earliest_epoch_counts_in_any_order():
    watch = Watch()
    schedule = [(2, "kernel"), (1, ["top", "head"]), (0, lambda v: v.name == "bias")]
    fit(make_model(), GradualUnfreezing(schedule), watch, epochs=3)
    assert watch.moved == [{"bottom", "top", "head"}] * 3
    history = fit(make_model(), GradualUnfreezing(schedule), epochs=3)
    assert history["frozen_fraction"] == pytest.approx([40 / 50, 16 / 50, 0.0])


def test_a_model_that_is_built_by_its_first_step():
    model = keras.Sequential(
        [keras.layers.Dense(4, name="body"), keras.layers.Dense(2, name="head")]
    )
    model.compile("sgd", "mse")
    history = fit(model, GradualUnfreezing([(1, "body")]), epochs=2)
    assert history["frozen_fraction"] == pytest.approx([20 / 30, 0.0])


def test_weights_that_cannot_be_trained_are_an_error_with_the_way_out():
    model = make_model()
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="this callback freezes them by itself"):
        fit(model, GradualUnfreezing([(1, "bottom")]))


def test_a_pattern_that_fits_nothing_is_an_error_and_leaves_the_model_alone():
    model = make_model()
    optimizer = model.optimizer
    message = r"`schedule` must be patterns .*'model/bottom/kernel'.*\['neck'\] do not"
    with pytest.raises(ValueError, match=message):
        fit(model, GradualUnfreezing([(1, "top"), (2, "neck")]))
    assert model.optimizer is optimizer


def normalizing_model(scale=True, **options):
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization(
        momentum=0.5, scale=scale, center=scale, name="norm"
    )
    model = keras.Sequential(
        [keras.Input((4,)), norm, keras.layers.Dense(2, name="head")], name="model"
    )
    model.compile(keras.optimizers.SGD(0.1), "mse", **options)
    return model


@pytest.mark.parametrize(
    ("replicas", "options"),
    [
        (1, {}),
        (2, {}),
        pytest.param(1, {"jit_compile": True}, marks=pytest.mark.thorough(MATRIX)),
    ],
)
def test_batch_normalization_rests_as_it_does_in_keras(replicas, options, strategies):
    with strategies(replicas).scope():
        model = normalizing_model(**options)
        plain = normalizing_model(**options)
        plain.get_layer("norm").trainable = False
        plain.compile(keras.optimizers.SGD(0.1), "mse", **options)
    watch = Watch()
    thaw = GradualUnfreezing([(2, "norm")])
    fit(model, thaw, watch, epochs=2)
    fit(plain, epochs=2)
    assert watch.moved == 2 * [{"head"}]
    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    fit(model, thaw, watch, epochs=4, initial_epoch=2)
    assert watch.moved == 2 * [{"norm", "head"}]
    assert "call" not in vars(model.get_layer("norm"))


def test_batch_normalization_without_weights_and_one_trace():
    watch = Watch()
    model = normalizing_model(scale=False)
    fit(model, GradualUnfreezing([(1, "norm/moving")]), watch, epochs=3)
    assert watch.moved == [{"head"}, {"head", "norm"}, {"head", "norm"}]
    assert len(watch.traces) == 1


def test_batch_normalization_rests_until_its_last_weight_is_thawed():
    model = normalizing_model()
    norm, seen = model.get_layer("norm"), []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(norm.get_weights())
    )
    fit(model, GradualUnfreezing([(1, "gamma"), (2, "norm")]), note, epochs=3)
    # Of gamma, beta, and the two statistics.
    moved = [
        [bool(np.any(a != b)) for a, b in zip(*pair, strict=True)]
        for pair in zip(seen[:-1], seen[1:], strict=True)
    ]
    assert moved == [[True, False, False, False], 4 * [True]]


def test_statistics_move_if_they_are_not_to_be_frozen():
    model = normalizing_model()
    thaw = GradualUnfreezing([(9, "norm")], freeze_statistics=False)
    before = model.get_layer("norm").get_weights()
    fit(model, thaw, epochs=1)
    after = model.get_layer("norm").get_weights()
    moved = [np.any(a != b) for a, b in zip(before, after, strict=True)]
    assert moved == [False, False, True, True]


@pytest.mark.thorough(LONG)
def test_batch_normalization_in_a_model_that_is_built_by_its_first_step():
    layers = [keras.layers.BatchNormalization(name="norm"), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse")
    fit(model, GradualUnfreezing([(2, "norm")]), epochs=1)
    np.testing.assert_array_equal(layers[0].moving_mean, np.zeros(4))
    fit(model, GradualUnfreezing([(0, "norm")]), epochs=1)
    assert np.any(layers[0].moving_mean != 0)


@pytest.mark.parametrize(
    "schedule",
    [[], "top", [("top", 1)], [(1,)], [(-1, "top")], [(1.5, "top")], [(1, None)]],
)
def test_rejects_what_is_no_schedule(schedule):
    with pytest.raises(ValueError, match=r"`schedule` must be a list of pairs \(epoch"):
        GradualUnfreezing(schedule)


def test_rejects_what_is_no_pattern():
    message = r"`schedule` must be a regular expression"
    with pytest.raises(ValueError, match=message):
        GradualUnfreezing([(1, 3)])
