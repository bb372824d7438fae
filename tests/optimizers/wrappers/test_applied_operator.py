import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.optimizers import ADMM, Proximal, operators
from tests.optimizers.wrappers.followed import variables

SHRINK = operators.GroupShrinkage(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operator": "l1"}, "`operator` must be one of keras_ext.optimizers.operator"),
        ({"include": 3}, "`include` must be a regular expression"),
        ({"unit_axes": 3}, "`unit_axes` must be a dictionary from weight paths"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Proximal("sgd", **{"operator": SHRINK, **arguments})


SHRINKING = [
    operators.L1Shrinkage(0.1),
    operators.ElasticNetShrinkage(0.1),
    operators.GroupShrinkage(0.1),
    operators.SparseGroupShrinkage(0.1),
    operators.NuclearShrinkage(0.1),
]


@pytest.mark.parametrize("operator", SHRINKING, ids=lambda o: o.name)
def test_weights_in_double_precision_are_those_of_single_precision(operator):
    """Rates and strengths are in float32, and were multiplied with wider ones."""
    found = []
    for dtype in ("float32", "float64"):
        values = np.linspace(-1, 1, 12).reshape(3, 4)
        for made in (Proximal("sgd", operator), ADMM("sgd", operator, sync_period=1)):
            kernel = keras.Variable(values, dtype=dtype, name="kernel")
            made.apply([tf.ones((3, 4), dtype)], [kernel])
            found.append(kernel.numpy())
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    np.testing.assert_allclose(found[1], found[3], atol=1e-6)


def test_some_weight_has_to_be_chosen():
    optimizer = Proximal("sgd", SHRINK, include="gamma")
    with pytest.raises(ValueError, match="such that some weight is left of"):
        optimizer.build(variables())


@pytest.mark.parametrize(
    ("axes", "zeros"), [({}, [False, True]), ({"kernel": (1,)}, [True, False])]
)
def test_groups_are_units_of_the_layer(axes, zeros):
    """Of the kernel of a transposed convolution, the axis before the last."""
    kernel = keras.Variable([[0.1, 0.1], [3.0, 0.1]], name="kernel")
    optimizer = Proximal(keras.optimizers.SGD(1.0), SHRINK, unit_axes=axes)
    optimizer.apply([tf.zeros((2, 2))], [kernel])
    axis = 1 if axes else 0
    assert [not row.any() for row in kernel.numpy().swapaxes(0, 1 - axis)] == zeros
