import keras
import numpy as np
import pytest

from keras_ext._anatomy._in_float32 import in_float32

layers = keras.layers


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
def test_layers_compute_in_float32_for_a_while(policy):
    seen = []

    class Spy(layers.Layer):
        def call(self, x):
            seen.append(x.dtype.name)
            return x

    stack = [layers.Dense(3, dtype=policy), Spy(dtype=policy)]
    # Without an Input it would get one of the type of its first layer.
    inner = keras.Sequential([keras.Input((2,)), *stack])
    model = keras.Sequential([keras.Input((2,)), inner, layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
    before = [layer.dtype_policy.name for layer in inner.layers]
    with in_float32(model):
        found = model(x)
    own = [w.astype("float32") for w in map(keras.ops.convert_to_numpy, model.weights)]
    expected = (x @ own[0] + own[1]) @ own[2] + own[3]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert seen[-1] == "float32"
    model(x)
    assert seen[-1] == inner.layers[1].compute_dtype != "float32"
    after = [layer.dtype_policy.name for layer in inner.layers]
    assert before == after == [policy, policy]


def test_a_map_of_policies_gets_its_own_back():
    policies = keras.dtype_policies.DTypePolicyMap(default_policy="mixed_bfloat16")
    dense = layers.Dense(3, dtype=policies, name="dense")
    model = keras.Sequential([keras.Input((2,)), dense])
    with in_float32(model):
        assert dense.compute_dtype == "float32"
    assert dense.compute_dtype == "bfloat16"
