"""What every layer that is random while training must do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from tests.cases import LAYERS
from tests.thorough import LONG, MATRIX

CASES = [
    pytest.param(case, id=f"{name}-{i}" if i else name)
    for name, cases in LAYERS.items()
    for i, case in enumerate(cases)
]
every_layer = pytest.mark.parametrize("case", CASES)
# One that draws a mask and is live, one that learns its rate and adds a loss, one that
# counts steps, and one that pools.
REPRESENTATIVE = {
    "LiveDropout",
    "ConcreteDropout",
    "ScheduledDropout",
    "DropBlock2D",
}
representative_layers = pytest.mark.parametrize(
    "case",
    [
        param
        if param.id in REPRESENTATIVE
        else pytest.param(
            *param.values, id=param.id, marks=pytest.mark.thorough(MATRIX)
        )
        for param in CASES
    ],
)
quiet_layers = pytest.mark.parametrize(
    "case", [p for p in CASES if p.values[0].quiet is not None]
)


def test_the_table_has_every_layer():
    layers = {n for n in kx.layers.__all__ if isinstance(getattr(kx.layers, n), type)}
    assert set(LAYERS) == layers
    for name, cases in LAYERS.items():
        assert all(type(case.make()).__name__ == name for case in cases)


def inputs(case, batch=4, seed=0):
    x = np.random.default_rng(seed).normal(size=(batch, *case.shape))
    return (x + np.sign(x)).astype("float32")


def config_of(layer):
    """Without that of a layer inside, which has a note on how it was built."""
    return {k: v for k, v in layer.get_config().items() if k != "layer"}


@quiet_layers
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_without_noise_it_is_the_identity_to_the_bit(case, dtype):
    layer, x = case.make(dtype=dtype), inputs(case)
    x[0].flat[0] = np.inf
    x = x.astype(layer.compute_dtype)
    setattr(layer, *case.quiet)
    np.testing.assert_array_equal(layer(x, training=True), x)


@every_layer
def test_noise_changes_the_inputs_while_training_only(case):
    layer, x = case.make(seed=1), inputs(case, batch=20)
    assert np.any(np.asarray(layer(x, training=True)) != x)
    if case.is_identity:
        np.testing.assert_array_equal(layer(x), x)
        np.testing.assert_array_equal(layer(x, training=False), x)


@every_layer
def test_the_mean_is_kept(case):
    layer, x, draws = case.make(seed=1), inputs(case, batch=1), 4000
    y = np.asarray(layer(np.repeat(x, draws, axis=0), training=True))
    error = np.abs(y.mean(axis=0) - np.asarray(layer(x))[0])
    bound = 5 * y.std(axis=0) / np.sqrt(draws)
    if case.keeps_mean:
        assert np.all(error <= bound)
    else:
        # Not of each, but of all together.
        y = np.asarray(layer(np.ones((draws, *case.shape), "float32"), training=True))
        assert y.mean() == pytest.approx(1, rel=1e-5)


@every_layer
def test_steps_differ_and_repeat_with_a_seed(case):
    x = inputs(case, batch=20)
    first, second = (
        [np.asarray(layer(x, training=True)) for _ in range(2)]
        for layer in (case.make(seed=3), case.make(seed=3))
    )
    np.testing.assert_array_equal(first, second)
    assert np.any(first[0] != first[1])
    other = case.make(seed=4)(x, training=True)
    assert np.any(first[0] != np.asarray(other))


@every_layer
def test_replicas_differ(case, strategies):
    x = tf.constant(inputs(case, batch=20))
    strategy = strategies(2)
    with strategy.scope():
        layer = case.make(seed=3)
        layer.build((None, *case.shape))

    @tf.function
    def step():
        return strategy.run(lambda: layer(x, training=True))

    a, b = (np.asarray(y) for y in strategy.experimental_local_results(step()))
    assert np.any(a != b)
    np.testing.assert_allclose(a, case.make(seed=3)(x, training=True), rtol=1e-5)


@pytest.mark.parametrize(
    ("case", "jit_compile"),
    [
        pytest.param(
            *param.values,
            jit_compile,
            id=f"{jit_compile}-{param.id}",
            marks=pytest.mark.thorough(MATRIX)
            if jit_compile and param.id not in REPRESENTATIVE
            else (),
        )
        for jit_compile in (False, True)
        for param in CASES
    ],
)
def test_is_live_in_a_compiled_step(case, jit_compile):
    layer, traces = case.make(seed=3), []
    layer.build((None, *case.shape))
    x = inputs(case, batch=20)

    @tf.function(jit_compile=jit_compile)
    def step(x):
        traces.append(1)
        return layer(x, training=True)

    first = np.asarray(step(x))
    assert np.any(first != x)
    if not jit_compile:  # which has another generator
        expected = case.make(seed=3)(x, training=True)
        np.testing.assert_allclose(first, expected, rtol=1e-5)
    if case.quiet is not None:
        setattr(layer, *case.quiet)
        np.testing.assert_array_equal(step(x), x)
    assert len(traces) == 1


@every_layer
def test_half_precision_draws_the_noise_of_full_precision(case):
    x = inputs(case, batch=20)
    full = np.asarray(case.make(seed=3)(x, training=True))
    half = case.make(seed=3, dtype="mixed_float16")(x, training=True)
    assert keras.backend.standardize_dtype(half.dtype) == "float16"
    np.testing.assert_allclose(half, full, rtol=0.02, atol=0.01)
    np.testing.assert_array_equal(np.abs(half) < 1e-3, np.abs(full) < 1e-3)


@every_layer
def test_is_saved_and_loaded(case, tmp_path):
    inner = case.make(seed=3, name="noise")
    model = keras.Sequential([keras.Input(case.shape), inner], name="model")
    for hyper in kx.hyper_variables(model).values():
        hyper.assign(0.125)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = loaded.get_layer("noise")
    assert config_of(again) == config_of(inner)
    found = kx.hyper_variables(loaded)
    assert found.keys() == kx.hyper_variables(model).keys()
    assert all(float(hyper) == 0.125 for hyper in found.values())
    x = inputs(case, batch=20)
    # The state of the random numbers is saved, too.
    np.testing.assert_array_equal(model(x, training=True), loaded(x, training=True))
    for hyper in kx.hyper_variables(model).values():
        hyper.assign(0.25)
    model.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    assert config_of(again) == config_of(inner)


@every_layer
def test_a_clone_has_the_present_values(case):
    inner = case.make(seed=3, name="noise")
    model = keras.Sequential([keras.Input(case.shape), inner])
    for hyper in kx.hyper_variables(model).values():
        hyper.assign(0.125)
    copy = keras.models.clone_model(model)
    assert config_of(copy.get_layer("noise")) == config_of(inner)


@every_layer
def test_the_mask_is_passed_on(case):
    x, mask = inputs(case), np.array([[True, False]])
    layer = case.make()
    assert layer.supports_masking
    assert layer.compute_mask(x, mask) is mask


@every_layer
def test_shapes_are_kept_and_seeds_checked(case):
    layer = case.make()
    assert layer.compute_output_shape((None, *case.shape)) == (None, *case.shape)
    y = layer(keras.Input(case.shape))
    assert y.shape == (None, *case.shape)
    with pytest.raises(ValueError, match="`seed` must be an integer in"):
        case.make(seed=1.5)


@representative_layers
@pytest.mark.thorough(LONG)
def test_trains_on_two_replicas(case, strategies):
    with strategies(2).scope():
        model = keras.Sequential(
            [
                keras.Input(case.shape),
                case.make(seed=3),
                keras.layers.Flatten(),
                keras.layers.Dense(1),
            ]
        )
        model.compile("sgd", "mse")
    x = inputs(case, batch=8)
    history = model.fit(x, np.ones(8), batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"][0])
