"""What a clipping rule of one's own gets from the base class."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.gradients import ClipByGroupNorm
from keras_ext.optimizers import GradientPipeline
from tests.streams import STREAM, norms_of, transformed, variables_of


class AtMost(ClipByGroupNorm):
    """Has a limit for each group, in their order, and keeps what it was given."""

    def __init__(self, limits, **kwargs):
        super().__init__(**kwargs)
        self.values = limits

    def build_state(self, num_groups):
        self.num_groups = num_groups
        self.seen = self.add_state((num_groups,), "seen")

    def limits(self, norms, variables):
        self.paths = [v.path for v in variables]
        self.seen.assign(norms)
        return tf.zeros_like(norms) + self.values


def built(clip, values):
    variables = variables_of({n: np.float32(v) for n, v in values.items()})
    clip.build(variables, {})
    return clip, variables


VALUES = {
    "a/kernel": np.ones((3, 2)),
    "a/bias": np.ones(2),
    "b/kernel": np.ones((2, 1)),
}


@pytest.mark.parametrize(
    ("per", "num_groups"), [("unit", 4), ("tensor", 3), ("layer", 2), ("global", 1)]
)
def test_state_has_a_number_for_each_group(per, num_groups):
    clip, _ = built(AtMost(1.0, per=per), VALUES)
    assert clip.num_groups == num_groups == len(clip.groups)
    assert clip.seen.shape == (num_groups,)


def test_the_default_is_a_norm_for_each_weight():
    clip, variables = built(AtMost([0.5, 2.0, 4.0]), VALUES)
    gradients = [tf.fill(v.shape, 3.0) for v in variables]
    clipped, told = clip.transform_chosen(gradients, variables)
    norms = [np.linalg.norm(c) for c in clipped]
    np.testing.assert_allclose(norms, [0.5, 2.0, 4.0], rtol=1e-6)
    own = [3 * np.sqrt(6), 3 * np.sqrt(2), 3 * np.sqrt(2)]
    np.testing.assert_allclose(clip.seen, own, rtol=1e-6)
    # For signals.
    np.testing.assert_allclose(told.norms, own, rtol=1e-6)
    np.testing.assert_allclose(told.limits, [0.5, 2.0, 4.0])
    assert list(told.names) == [v.path for v in variables]
    assert told.per == "tensor"


def test_gradients_at_or_below_their_limit_keep_every_bit():
    norms = transformed(AtMost(np.inf))
    for name, gradients in STREAM.items():
        np.testing.assert_array_equal(norms[name], gradients)
    rng = np.random.default_rng(0)
    values = np.float32(rng.normal(size=(100, 1)))
    clip, variables = built(AtMost(np.abs(values[:, 0]).max()), {"w": [0.0]})
    for value in values:
        np.testing.assert_array_equal(clip([tf.constant(value)], variables)[0], value)


@pytest.mark.parametrize("limit", [1e-6, 1.0, 1e6])
def test_no_norm_is_above_its_limit_and_the_direction_is_kept(limit):
    clipped = transformed(AtMost(limit))
    for name, gradients in STREAM.items():
        before, after = norms_of(gradients), norms_of(clipped[name])
        np.testing.assert_allclose(after, np.minimum(before, limit), rtol=1e-6)
        products = np.sum(
            np.float64(gradients).reshape(50, -1)
            * np.float64(clipped[name]).reshape(50, -1),
            axis=1,
        )
        np.testing.assert_allclose(products, before * after, rtol=1e-6)


def test_zeros_stay_zeros_whatever_the_limit():
    for limit in (0.0, 1.0, np.inf):
        clip, variables = built(AtMost(limit), {"w": np.ones(3)})
        (clipped,) = clip([tf.zeros(3)], variables)
        np.testing.assert_array_equal(clipped, np.zeros(3))


def test_a_limit_of_zero_takes_everything():
    for size in (1e-18, 1.0, 1e18):
        clip, variables = built(AtMost(0.0), {"w": np.ones(3)})
        (clipped,) = clip([tf.fill((3,), size)], variables)
        np.testing.assert_array_equal(clipped, np.zeros(3))


def test_excluded_weights_belong_to_no_group():
    clip, variables = built(AtMost(1.0, per="global", exclude="bias"), VALUES)
    gradients = [tf.fill(v.shape, 3.0) for v in variables]
    clipped = clip(gradients, variables)
    assert clip.paths == ["a/kernel", "b/kernel"]
    np.testing.assert_allclose(clip.seen, [3 * np.sqrt(8)], rtol=1e-6)
    np.testing.assert_array_equal(clipped[1], gradients[1])


@pytest.mark.parametrize("per", ["unit", "tensor", "layer", "global"])
def test_a_weight_without_a_gradient_counts_as_zero(per):
    clip, variables = built(AtMost(1.0, per=per), VALUES)
    clipped = clip([tf.fill((2,), 3.0)], variables[1:2])
    np.testing.assert_allclose(np.linalg.norm(clipped[0]), 1.0, rtol=1e-6)
    row = np.array(clip.seen)
    assert np.sum(row > 0) == 1
    np.testing.assert_allclose(row.max(), 3 * np.sqrt(2), rtol=1e-6)


def test_none_of_the_chosen_has_a_gradient():
    clip, variables = built(AtMost(1.0, exclude="bias"), VALUES)
    (same,), told = clip.transform_chosen([tf.fill((2,), 3.0)], variables[1:2])
    np.testing.assert_array_equal(same, [3.0, 3.0])
    assert told is None


def test_state_is_that_of_the_last_update_that_was_made():
    clip = AtMost(1.0)
    optimizer = GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    weight = keras.Variable([0.0], name="weight")
    for gradient in (5.0, np.nan, np.inf):
        optimizer.apply([tf.constant([gradient])], [weight])
    np.testing.assert_allclose(clip.seen, [5.0])
    np.testing.assert_allclose(weight, [-1.0])


def test_limits_has_to_be_overridden():
    class Forgetful(ClipByGroupNorm):
        pass

    clip, variables = built(Forgetful(), {"w": np.ones(3)})
    message = r"^Forgetful must override limits\(norms, variables\)\.$"
    with pytest.raises(NotImplementedError, match=message):
        clip([tf.ones(3)], variables)


def test_config_has_the_kind_of_groups():
    config = ClipByGroupNorm("layer", exclude="head").get_config()
    assert config == {"per": "layer", "include": None, "exclude": "head"}
    assert ClipByGroupNorm.from_config(config).get_config() == config


def test_rejects_another_kind_of_groups():
    message = (
        '`per` must be "unit", "tensor", "layer" or "global". Received: per=\'row\'.'
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ClipByGroupNorm(per="row")
