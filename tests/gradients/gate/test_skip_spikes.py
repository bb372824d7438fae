"""Spikes of the gradient norm against a computation in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import SkipSpikes
from keras_ext.optimizers import GradientPipeline
from tests.thorough import LONG, thorough_but

NAN = float("nan")


def run(transform, norms, optimizer=None, strategy=None, **function_options):
    """Applies gradients of these norms; returns which updates were made."""
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        kernel = keras.Variable([0.0, 0.0], name="kernel")
        pipeline = GradientPipeline(optimizer or keras.optimizers.SGD(1.0), [transform])
        pipeline.build([kernel])

    @tf.function(autograph=False, **function_options)
    def step(norm):
        def apply():
            gradient = tf.stack([0.6 * norm, 0.8 * norm]) / replicas
            pipeline.apply([gradient], [kernel])

        strategy.run(apply)

    made, before = [], kernel.numpy()
    for norm in np.float32(norms):
        step(tf.constant(norm))
        after = kernel.numpy()
        made.append(bool(np.any(after != before)))
        before = after
    return np.array(made)


def expected(norms, z=6.0, beta=0.98, warmup=100, ratio=2.0):
    """The definition: weighted moments of all norms before, spikes cut to the limit."""
    seen, made = [], []
    for norm in np.float64(np.float32(norms)):
        limit = np.inf
        if len(seen) >= warmup:
            weights = beta ** np.arange(len(seen))[::-1]
            mean = np.average(seen, weights=weights)
            variance = np.average((np.array(seen) - mean) ** 2, weights=weights)
            limit = max(mean + z * np.sqrt(variance), ratio * mean)
        made.append(norm <= limit)
        seen.append(min(norm, limit))
    return np.array(made)


def norms_with_spikes(size=160):
    rng = np.random.default_rng(0)
    norms = rng.lognormal(sigma=0.3, size=size)
    norms[rng.choice(size, 12, replace=False)] *= rng.uniform(1.5, 30, size=12)
    return norms


@pytest.mark.parametrize("jit_compile", thorough_but({False}, [False, True]))
@pytest.mark.parametrize(
    "arguments",
    [
        {"warmup": 20},
        {"warmup": 1, "z": 3.0, "beta": 0.9, "ratio": 1.0},
        {"warmup": 5, "beta": 0.0, "ratio": 1.7},
    ],
)
def test_leaves_out_what_the_definition_says(arguments, jit_compile):
    norms = norms_with_spikes()
    names = {
        "z": "z_threshold",
        "warmup": "warmup_steps",
        "ratio": "min_ratio",
        "beta": "smoothing",
    }
    transform = SkipSpikes(
        raise_in_step=False, **{names.get(k, k): v for k, v in arguments.items()}
    )
    made = run(transform, norms, jit_compile=jit_compile)
    np.testing.assert_array_equal(made, expected(norms, **arguments))
    assert 3 < transform.skipped == np.sum(~made) < 100


@pytest.mark.thorough(LONG)
def test_does_so_on_two_replicas(strategies):
    norms = norms_with_spikes()
    made = run(SkipSpikes(warmup_steps=20), norms, strategy=strategies(2))
    np.testing.assert_array_equal(made, expected(norms, warmup=20))


def test_nothing_is_a_spike_while_it_warms_up():
    norms = [1.0, 1e3, 1.0, 1e4, 1.0, 1.0]
    assert run(SkipSpikes(warmup_steps=6), norms).all()


def test_steady_norms_may_rise_a_little():
    """The deviation is zero then, and any difference would be infinitely many."""
    norms = [1.0] * 10 + [1.5, 1.99, 10.0]
    made = run(SkipSpikes(warmup_steps=5), norms)
    assert made.tolist() == [True] * 12 + [False]


def test_zeros_do_not_make_everything_a_spike():
    made = run(SkipSpikes(warmup_steps=3), [0.0] * 5 + [1.0, 1.0])
    assert made[5:].all()


def test_a_spike_hardly_widens_the_limit():
    """What comes right after it is judged as if it had not been there."""
    rng = np.random.default_rng(0)
    quiet = 1.0 + 0.1 * rng.normal(size=200)
    for spike in (10.0, 1e15):
        made = run(SkipSpikes(), [*quiet, spike, *quiet[:50], 4.0])
        assert made[:200].all()
        assert not made[200]
        assert made[201:-1].all()
        assert not made[-1]


@pytest.mark.parametrize(("level", "skips"), [(3, 4), (10, 10), (100, 18)])
def test_a_new_level_is_accepted_after_as_many_updates_as_it_says(level, skips):
    """The numbers of the docstring."""
    rng = np.random.default_rng(0)
    norms = 1.0 + 0.1 * rng.normal(size=300)
    norms[200:] *= level
    transform = SkipSpikes()
    made = run(transform, norms)
    assert abs(transform.skipped - skips) <= 1
    assert made[200 + skips + 5 :].all()
    transform.check()


def test_what_needs_more_is_an_error():
    norms = [1.0, 1.1] * 60 + [1e9] * 30
    transform = SkipSpikes(raise_in_step=False, max_consecutive=10)
    run(transform, norms)
    message = (
        r"More than max_consecutive=10 updates .* began in update 121, with the "
        r"gradient of 'kernel', which had the largest part in a spike"
    )
    with pytest.raises(RuntimeError, match=message):
        transform.check()
    with pytest.raises(tf.errors.InvalidArgumentError, match="SkipSpikes: more than"):
        run(SkipSpikes(max_consecutive=10), norms)


def test_names_the_weight_with_the_largest_part():
    variables = [keras.Variable([0.0], name=name) for name in "abc"]
    transform = SkipSpikes(warmup_steps=2, max_consecutive=0, raise_in_step=False)
    optimizer = GradientPipeline("sgd", [transform])
    for norms in ([1, 1, 1], [1, 1, 1], [2, 50, 3]):
        optimizer.apply([tf.constant([float(x)]) for x in norms], variables)
    with pytest.raises(RuntimeError, match="update 3, with the gradient of 'b'"):
        transform.check()


def test_nan_counts_as_a_spike_and_is_not_remembered():
    variables = [keras.Variable([0.0], name=name) for name in "ab"]
    transform = SkipSpikes(warmup_steps=2, max_consecutive=1, raise_in_step=False)
    optimizer = GradientPipeline("sgd", [transform])

    def apply(*norms):
        optimizer.apply([tf.constant([float(x)]) for x in norms], variables)

    for norms in ([1, 1], [NAN, 1], [1, 1], [1, 1], [NAN, 1], [50, 1]):
        apply(*norms)
    assert transform.skipped == 3
    assert optimizer.nonfinite_steps == 2
    with pytest.raises(RuntimeError, match="update 5, with the gradient of 'a'"):
        transform.check()


def test_nan_is_named_in_the_step_before_what_is_large():
    variables = [keras.Variable([0.0], name=name) for name in "ab"]
    optimizer = GradientPipeline("sgd", [SkipSpikes(max_consecutive=0)])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"with weight'\n0\n"):
        optimizer.apply([tf.constant([NAN]), tf.constant([1e9])], variables)


def test_only_the_chosen_weights_are_measured():
    variables = [keras.Variable([0.0], name=name) for name in "ab"]
    transform = SkipSpikes(warmup_steps=2, exclude="a")
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    for a, b in [(1, 1), (1, 1), (100, 1), (1, 100)]:
        optimizer.apply([tf.constant([float(x)]) for x in (a, b)], variables)
    assert [float(v[0]) for v in variables] == [-102.0, -3.0]


@pytest.mark.parametrize("replicas", thorough_but({1}, [1, 2]))
def test_the_loss_scale_does_not_mind_a_spike_but_nan(strategies, replicas):
    strategy = strategies(replicas)
    with strategy.scope():
        kernel = keras.Variable([0.0], name="kernel")
        scaler = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(1.0), initial_scale=64.0, dynamic_growth_steps=4
        )
        transform = SkipSpikes(warmup_steps=2, max_consecutive=0, raise_in_step=False)
        optimizer = GradientPipeline(scaler, transforms=[transform])
        optimizer.build([kernel])

    @tf.function(autograph=False)
    def step(norm):
        def apply():
            # The gradient of the loss, as Keras would compute it.
            with tf.GradientTape() as tape:
                loss = optimizer.scale_loss(kernel.value[0] * norm) / replicas
            optimizer.apply([tape.gradient(loss, kernel.value)], [kernel])

        strategy.run(apply)

    def state_after(norm):
        step(tf.constant(norm))
        values = (scaler.dynamic_scale, scaler.step_counter, kernel)
        return [float(keras.ops.convert_to_numpy(v).ravel()[0]) for v in values]

    assert state_after(1.0) == [64.0, 1.0, -1.0]
    assert state_after(1.0) == [64.0, 2.0, -2.0]
    assert state_after(50.0) == [64.0, 2.0, -2.0]  # a spike
    assert state_after(1.0) == [64.0, 3.0, -3.0]
    assert state_after(NAN) == [32.0, 0.0, -3.0]
    assert transform.skipped == 2
    assert optimizer.nonfinite_steps == 1


@pytest.mark.parametrize("replicas", thorough_but({1}, [1, 2]))
def test_accumulated_batches_are_judged_together(strategies, replicas):
    strategy = strategies(replicas)
    with strategy.scope():
        kernel = keras.Variable([0.0], name="kernel")
        transform = SkipSpikes(warmup_steps=2)
        optimizer = GradientPipeline(
            keras.optimizers.SGD(1.0, momentum=0.5),
            transforms=[transform],
            accumulation_steps=2,
        )
        optimizer.build([kernel])

    @tf.function(autograph=False)
    def step(norm):
        def apply():
            optimizer.apply([tf.fill((1,), norm) / replicas], [kernel])

        strategy.run(apply)

    for norm in (1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 1.0, 1.0):
        step(tf.constant(norm))
    assert transform.skipped == 1
    assert int(keras.ops.convert_to_numpy(optimizer.iterations)) == 3
    # Moves of 1, 1.5 and 1.75: the spike is not in the momentum either.
    assert float(kernel.numpy()[0]) == -4.25


def test_the_threshold_is_live():
    transform = SkipSpikes(warmup_steps=2)
    kernel = keras.Variable([0.0], name="kernel")
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [transform])
    for norm in (1.0, 1.0):
        optimizer.apply([tf.constant([norm])], [kernel])
    transform.min_ratio.assign(100.0)
    optimizer.apply([tf.constant([50.0])], [kernel])
    assert float(kernel[0]) == -52.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"z_threshold": 0}, r"`z_threshold` must be a number > 0"),
        ({"smoothing": 1.0}, r"`smoothing` must be a number in \[0, 1\)"),
        ({"warmup_steps": 0}, r"`warmup_steps` must be an integer >= 1"),
        ({"min_ratio": 0.5}, r"`min_ratio` must be a number >= 1"),
        ({"max_consecutive": -1}, r"`max_consecutive` must be an integer >= 0"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SkipSpikes(**arguments)
