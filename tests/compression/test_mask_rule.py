import keras
import numpy as np
import pytest

from keras_ext.compression._mask_rule import MaskRule, checked_rule, score
from tests.compression.tfmot import arrays

WEIGHTS = arrays("weights/")


def masks(rule, weights, sparsity):
    scores = [keras.ops.abs(keras.ops.convert_to_tensor(w)) for w in weights]
    return [keras.ops.convert_to_numpy(m) for m in rule.masks(scores, sparsity)]


def test_masks_of_magnitude_are_those_of_tfmot():
    expected = arrays("magnitude/")
    assert len(expected) == 63
    for name, mask in expected.items():
        which, _, sparsity = name.rpartition("/")
        (actual,) = masks(MaskRule(), [WEIGHTS[which]], float(sparsity))
        np.testing.assert_array_equal(actual, mask, err_msg=name)


def test_masks_of_m_by_n_are_those_of_tfmot():
    weights = arrays("m_by_n_weights/")
    compared = 0
    for name, mask in arrays("m_by_n/").items():
        which, _, pattern = name.partition("/")
        m, n = map(int, pattern.split(":"))
        rule = MaskRule(m_by_n=(m, n))
        if rule.reason_against(weights[which].shape) is None:
            (actual,) = masks(rule, [weights[which]], m / n)
            np.testing.assert_array_equal(actual, mask, err_msg=name)
            compared += 1
    assert compared == 7


@pytest.mark.parametrize("block_size", [(4, 1), (2, 3), (1, 4)])
def test_masks_of_blocks_are_those_of_tfmot(block_size):
    weights = arrays("block_weights")[""]
    (actual,) = masks(MaskRule(block_size=block_size), [weights], 0.6)
    expected = arrays("block/")["x".join(map(str, block_size))]
    np.testing.assert_array_equal(actual, expected)


def test_a_common_threshold_prunes_what_is_smallest_of_all():
    small, large = np.linspace(0.1, 0.4, 4), np.linspace(1.0, 4.0, 4)
    first, second = masks(MaskRule(), [small, large], 0.375)
    np.testing.assert_array_equal(first, [False, False, False, True])
    np.testing.assert_array_equal(second, [True] * 4)


def test_no_weight_is_pruned_beyond_the_most_of_one():
    small, large = np.linspace(0.1, 0.4, 4), np.linspace(1.0, 4.0, 4)
    first, second = masks(MaskRule(max_layer_sparsity=0.75), [small, large], 0.5)
    np.testing.assert_array_equal(first, [False, False, False, True])
    np.testing.assert_array_equal(second, [True] * 4)


@pytest.mark.parametrize("sparsity", [0.3, 0.8, 0.95])
def test_adaptive_masks_are_those_of_lamp(sparsity):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=s) * n for s, n in (((3, 4), 9.0), ((5, 2, 6), 0.1))]

    def lamp(weight):
        squares = np.square(weight.astype("float32").astype("float64"))
        # Of the paper, equation 1: in the sum are those that are as large.
        return np.array([s / squares[squares >= s].sum() for s in squares.flat])

    scores = [lamp(weight) for weight in weights]
    every = np.sort(np.concatenate(scores))
    least = every[round(sparsity * every.size)]
    found = masks(MaskRule(adaptive=True), weights, sparsity)
    for mask, own in zip(found, scores, strict=True):
        np.testing.assert_array_equal(mask.flat, own >= least)
        # The largest is all that is left of itself.
        assert mask.flat[own.argmax()]


def test_adaptive_masks_do_not_depend_on_the_scale_of_a_weight():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 8, 8))
    rule = MaskRule(adaptive=True)
    pairs = zip(masks(rule, [a, b], 0.7), masks(rule, [a * 64, b], 0.7), strict=True)
    for mask, other in pairs:
        np.testing.assert_array_equal(mask, other)


def test_says_which_shapes_do_not_fit():
    rule = MaskRule(m_by_n=(2, 4))
    assert rule.reason_against((3, 3, 1, 8)) == "its 1 inputs are no multiple of 4"
    rule = MaskRule(block_size=(4, 2))
    assert rule.reason_against((2, 2, 3, 5)) == "12 x 5 has no whole blocks of (4, 2)"
    assert rule.reason_against((2, 2, 3, 4)) is None


def test_random_scores_depend_on_the_seed_alone():
    first, again, other = (score("random", np.ones((4, 3)), s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (np.array(first) != np.array(other)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4, 2), None, 1), r"`m_by_n` must be \(m, n\) with m zeros in n entries"),
        ((None, (4,), 1), r"`block_size` must be two integers, such as \(4, 1\)"),
        (((2, 4), (1, 4), 1), r"`block_size` must be None if `m_by_n` is given"),
        ((None, None, 1, "all"), r'`scope` must be "layer", "global" or'),
        (
            (None, None, 1, "adaptive", "movement"),
            r"`scope` must be \"layer\" or \"glo",
        ),
        ((None, None, 0), r"`max_layer_sparsity` must be a number in \(0, 1\]"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        checked_rule(*arguments)
