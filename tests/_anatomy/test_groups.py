"""Norms of parts of weights in a row, against NumPy."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._anatomy._groups import KINDS, Groups
from tests.streams import variables_of

RNG = np.random.default_rng(0)
# Of all numbers of axes; with units in the last axis, in the first, and of two axes.
SHAPES = {
    "a/kernel": (3, 4),
    "a/bias": (4,),
    "b/scalar": (),
    "b/conv_t": (2, 5, 3),
    "b/heads": (3, 2, 2),
    "c/embeddings": (6, 2),
    "c/empty_ends": (1, 1),
}
AXES = {
    "a/kernel": (0,),
    "a/bias": (0,),
    "b/scalar": (),
    "b/conv_t": (0, 2),
    "b/heads": (0,),
    "c/embeddings": (1,),
    "c/empty_ends": (0,),
}
VALUES = {name: np.float32(RNG.normal(size=shape)) for name, shape in SHAPES.items()}


def groups_of(per):
    variables = variables_of(VALUES)
    return Groups(variables, per, lambda v: AXES[v.path]), variables


def units_of(name, array):
    """The parts of a weight that are one output each, as rows."""
    others = [i for i in range(array.ndim) if i not in AXES[name]]
    moved = np.transpose(array, [*others, *AXES[name]])
    sizes = [array.shape[i] for i in others]
    return moved.reshape(int(np.prod(sizes)), -1)


def expected_norms(per, values):
    """From the name of a group to its norms."""
    squares = {n: np.sum(np.square(np.float64(a))) for n, a in values.items()}
    if per == "unit":
        return {
            n: np.linalg.norm(np.float64(units_of(n, a)), axis=1)
            for n, a in values.items()
        }
    names = {
        "tensor": lambda n: n,
        "layer": lambda n: n.split("/")[0],
        "global": lambda _: "global",
    }[per]
    sums = {}
    for n, square in squares.items():
        sums[names(n)] = sums.get(names(n), 0.0) + square
    return {n: [np.sqrt(s)] for n, s in sums.items()}


def by_name(groups, row):
    found = {}
    for name, number in zip(groups.names, row, strict=True):
        found.setdefault(name, []).append(float(number))
    return found


@pytest.mark.parametrize("per", KINDS)
def test_norms_are_those_of_numpy(per):
    groups, variables = groups_of(per)
    row = groups.norms([v.value for v in variables], variables)
    assert row.dtype == "float32"
    actual, expected = by_name(groups, row), expected_norms(per, VALUES)
    assert set(actual) == set(expected)
    for name, norms in expected.items():
        np.testing.assert_allclose(actual[name], norms, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("per", KINDS)
def test_the_row_has_a_number_for_each_group(per):
    groups, variables = groups_of(per)
    row = groups.squares([v.value for v in variables], variables)
    assert len(groups) == len(groups.names) == row.shape[0]
    assert len(groups) == {"unit": 4 + 1 + 1 + 5 + 4 + 6 + 1, "tensor": 7}.get(
        per, {"layer": 3, "global": 1}.get(per)
    )


@pytest.mark.parametrize("per", KINDS)
def test_each_group_is_scaled_by_its_number(per):
    """After a division by the norms, all norms are one."""
    groups, variables = groups_of(per)
    values = [v.value for v in variables]
    scaled = groups.scaled(values, variables, 1.0 / groups.norms(values, variables))
    for tensor, variable in zip(scaled, variables, strict=True):
        assert tuple(tensor.shape) == SHAPES[variable.path]
    arrays = {v.path: t.numpy() for v, t in zip(variables, scaled, strict=True)}
    for norms in expected_norms(per, arrays).values():
        np.testing.assert_allclose(norms, 1.0, rtol=1e-6)


@pytest.mark.parametrize("per", KINDS)
def test_a_number_of_one_keeps_every_bit(per):
    groups, variables = groups_of(per)
    values = [v.value for v in variables]
    scaled = groups.scaled(values, variables, tf.ones(len(groups)))
    for tensor, value in zip(scaled, values, strict=True):
        np.testing.assert_array_equal(tensor, value)


@pytest.mark.parametrize("per", KINDS)
@pytest.mark.parametrize(
    "present",
    [["a/kernel"], ["a/bias", "c/embeddings"], [n for n in SHAPES if n != "b/heads"]],
)
def test_weights_that_are_left_out_count_as_zero(per, present):
    groups, variables = groups_of(per)
    chosen = [v for v in variables if v.path in present]
    # In another order, which is nobody's business.
    chosen.reverse()
    row = groups.norms([v.value for v in chosen], chosen)
    zeroed = {n: a if n in present else 0 * a for n, a in VALUES.items()}
    expected = expected_norms(per, zeroed)
    for name, norms in by_name(groups, row).items():
        np.testing.assert_allclose(norms, expected[name], rtol=1e-6, err_msg=name)
    scaled = groups.scaled(
        [v.value for v in chosen], chosen, 2.0 * tf.ones(len(groups))
    )
    for tensor, variable in zip(scaled, chosen, strict=True):
        np.testing.assert_allclose(tensor, 2 * VALUES[variable.path])


@pytest.mark.parametrize("per", KINDS)
def test_no_weight_has_a_gradient(per):
    groups, _ = groups_of(per)
    np.testing.assert_array_equal(groups.norms([], []), np.zeros(len(groups)))
    assert groups.scaled([], [], tf.ones(len(groups))) == []


@pytest.mark.parametrize("per", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_neither_overflows_nor_vanishes(per, dtype):
    arrays = {"kernel": np.full((4, 2), 300.0), "bias": np.full(4, 1e-4)}
    variables = [
        keras.Variable(a, dtype=dtype, name=name) for name, a in arrays.items()
    ]
    groups = Groups(variables, per, lambda v: (0,))
    values = [v.value for v in variables]
    row = groups.norms(values, variables)
    exact = {v.name: np.asarray(tf.cast(v.value, "float64")) for v in variables}
    total = np.sqrt(sum(np.sum(a**2) for a in exact.values()))
    largest = {"unit": 600.0}.get(per, total)
    np.testing.assert_allclose(np.max(row), largest, rtol=1e-4)
    # A factor that float16 does not hold, and a product that it does.
    scaled = groups.scaled(values, variables, tf.fill(len(groups), 1e-8))
    assert [t.dtype for t in scaled] == [dtype] * 2
    product = np.asarray(tf.cast(scaled[0], "float64"))
    np.testing.assert_allclose(product, 3e-6, rtol=0.02)


def test_weights_without_a_folder_are_layers_of_their_own():
    variables = [keras.Variable(np.ones(2), name=name) for name in "ab"]
    assert Groups(variables, "layer", lambda _: (0,)).names == ["a", "b"]


def test_weights_of_one_path_are_told_apart():
    """As in models that were built apart and then put into one."""
    variables = [keras.Variable([size], name="w") for size in (3.0, 4.0)]
    values = [v.value for v in variables]
    single = Groups(variables, "tensor", lambda _: (0,))
    np.testing.assert_allclose(single.norms(values, variables), [3.0, 4.0])
    layer = Groups(variables, "layer", lambda _: (0,))
    np.testing.assert_allclose(layer.norms(values, variables), [5.0])


@pytest.mark.parametrize("per", KINDS)
def test_works_compiled_by_xla(per):
    groups, variables = groups_of(per)

    @tf.function(autograph=False, jit_compile=True)
    def halved():
        values = [v.value for v in variables]
        row = groups.norms(values, variables)
        return groups.scaled(values, variables, 0.5 * tf.ones_like(row)), row

    tensors, row = halved()
    for tensor, variable in zip(tensors, variables, strict=True):
        np.testing.assert_array_equal(tensor, 0.5 * VALUES[variable.path])
    values = [v.value for v in variables]
    np.testing.assert_allclose(row, groups.norms(values, variables), rtol=1e-6)


def test_rejects_another_kind():
    message = (
        '`per` must be "unit", "tensor", "layer" or "global". Received: per=\'row\'.'
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Groups([], "row", lambda _: ())
