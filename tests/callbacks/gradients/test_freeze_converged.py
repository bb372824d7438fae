"""Weights whose gradients shrink at known rates."""

import re

import keras
import numpy as np
import pytest

from keras_ext.callbacks import DynamicBatchSize, FreezeConverged
from tests.thorough import LONG, MATRIX, thorough_but


class Scales(keras.layers.Layer):
    """Weights `a` and `b`, of two and one numbers."""

    def build(self, input_shape):
        self.a = self.add_weight(shape=(2,), initializer="ones", name="a")
        self.b = self.add_weight(shape=(1,), initializer="ones", name="b")

    def call(self, inputs):
        return keras.ops.concatenate([self.a, self.b]) + 0 * inputs


def make_model(**options):
    """Loss 0.5 * (2 * a**2 + b**2) by the rows: gradients 2 a and b."""
    model = keras.Sequential([keras.Input((3,)), Scales()])
    weights = np.array([2.0, 2.0, 1.0])
    model.compile(
        keras.optimizers.SGD(0.1, **options.pop("sgd", {})),
        loss=lambda y, p: keras.ops.sum(0.5 * weights * p**2, axis=-1),
        **options,
    )
    return model


def fit(model, *callbacks, epochs=100, **options):
    x = np.ones((4, 3), "float32")
    return model.fit(
        x, x, epochs=epochs, callbacks=list(callbacks), verbose=0, **options
    )


def smoothed(gradients):
    past = 0.9 ** np.arange(len(gradients))[::-1]
    return [
        np.average(gradients[: i + 1], weights=past[-i - 1 :])
        for i in range(len(gradients))
    ]


A = smoothed([2 * 2**0.5 * 0.8**t for t in range(100)])
B = smoothed([0.9**t for t in range(100)])


def first_below(norms, limit, grace):
    return next(i for i, norm in enumerate(norms) if i >= grace and norm <= limit)


@pytest.mark.parametrize("threshold", [0.05, None])
@pytest.mark.parametrize("jit_compile", thorough_but([False], [False, True]))
def test_freezes_where_the_closed_form_says(threshold, jit_compile):
    stop = FreezeConverged(threshold, grace=0.1)
    model = make_model(jit_compile=jit_compile)
    history = fit(model, stop).history
    # Ten epochs of grace. Limits: a tenth of the medians over these.
    limits = [threshold or 0.1 * np.median(norms[:10]) for norms in (A, B)]
    ends = [first_below(n, limit, 10) for n, limit in zip((A, B), limits, strict=True)]
    assert ends[0] < ends[1] == stop.stopped_epoch
    fractions = [0.0] * ends[0] + [2 / 3] * (ends[1] - ends[0]) + [1.0]
    assert history["frozen_fraction"] == pytest.approx(fractions)
    a, b = (w[0] for w in model.get_weights())
    assert a == pytest.approx(0.8 ** (ends[0] + 1), rel=1e-4)
    assert b == pytest.approx(0.9 ** (ends[1] + 1), rel=1e-4)
    assert stop.stopped_by == "the gradients of all 2 weights have become small"


def test_nothing_is_frozen_in_the_grace_period():
    stop = FreezeConverged(1e9, grace=0.5)
    history = fit(make_model(), stop, epochs=10).history
    assert history["frozen_fraction"] == [0.0] * 5 + [1.0]


def test_the_grace_period_counts_the_epochs_of_this_fit():
    stop = FreezeConverged(1e9, grace=0.5)
    history = fit(make_model(), stop, epochs=10, initial_epoch=6)
    assert history.epoch == [6, 7, 8]
    assert stop.stopped_epoch == 8


def test_an_epoch_without_an_update_is_no_measure():
    model = make_model()
    weight = model.layers[0].a

    def break_once(epoch, logs):
        weight.assign(
            np.full(2, np.nan if epoch == 0 else 1.0) if epoch < 2 else weight
        )

    broken = keras.callbacks.LambdaCallback(on_epoch_begin=break_once)
    stop = FreezeConverged(grace=0.01)
    history = fit(model, broken, stop).history
    assert history["nonfinite_steps"][-1] == 1
    # A tenth of the norm of the second epoch, of which 0.9 is left in each.
    assert 1 + 22 <= stop.stopped_epoch < 60


@pytest.mark.thorough(LONG)
def test_what_is_excluded_goes_on_and_is_not_waited_for():
    stop = FreezeConverged(0.05, grace=0.1, exclude="/b$")
    history = fit(make_model(), stop).history
    end = first_below(A, 0.05, 10)
    assert stop.stopped_epoch == end
    assert history["frozen_fraction"][-1] == pytest.approx(2 / 3)


@pytest.mark.thorough(LONG)
def test_frozen_weights_keep_every_bit_with_momentum_and_decay():
    class Remember(keras.callbacks.Callback):
        seen = []

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append(self.model.get_weights()[0])

    remember = Remember()
    stop = FreezeConverged(grace=0.1)
    model = make_model(sgd={"momentum": 0.1, "weight_decay": 0.01})
    history = fit(model, stop, remember).history
    start = int(np.flatnonzero(np.array(history["frozen_fraction"]) > 0.5)[0])
    assert len(remember.seen) > start + 2
    for weights in remember.seen[start:]:
        np.testing.assert_array_equal(weights, remember.seen[start])


@pytest.mark.thorough(LONG)
def test_a_second_fit_starts_thawed():
    stop = FreezeConverged(1e9, grace=0.5)
    model = make_model()
    for _ in range(2):
        history = fit(model, stop, epochs=4).history
        assert history["frozen_fraction"] == [0.0, 0.0, 1.0]


@pytest.mark.thorough(MATRIX)
def test_two_replicas_with_accumulation(strategies):
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = make_model()
        stop = FreezeConverged(1.0, grace=0.1)
        grow = DynamicBatchSize([(0, 2)], batch_size=2)
        fit(model, stop, grow, epochs=15, batch_size=2)
        results.append((stop.stopped_epoch, *model.get_weights()))
    assert results[0][0] == results[1][0] is not None
    for one, two in zip(results[0][1:], results[1][1:], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0}, "`threshold` must be a number > 0 or None"),
        ({"grace": 1}, "`grace` must be a number in (0, 1)"),
        ({"include": 3}, "`include` must be a regular expression"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        FreezeConverged(**arguments)
