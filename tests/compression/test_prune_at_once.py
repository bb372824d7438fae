import keras
import numpy as np
import pytest

from keras_ext.compression import prune
from tests.compression.tfmot import arrays


def make_model():
    dense = keras.layers.Dense(12, name="a")
    model = keras.Sequential([keras.Input((8,)), dense, keras.layers.Dense(4)])
    dense.kernel.assign(arrays("block_weights")[""])
    return model


@pytest.mark.parametrize("block", ["4x1", "2x3", "1x4"])
def test_blocks_are_those_of_tfmot(block):
    model = make_model()
    prune(model, 0.6, block_size=list(map(int, block.split("x"))), include="a/kernel")
    kept = np.array(model.layers[0].kernel) != 0
    np.testing.assert_array_equal(kept, arrays("block/")[block])


def test_global_scope_ranks_all_together():
    model = make_model()
    first, second = (layer.kernel for layer in model.layers)
    second.assign(0.001 * second.value)
    report = prune(model, 1 / 3, scope="global", max_layer_sparsity=0.75)
    assert np.count_nonzero(np.array(first)) == 96
    # It would take the other weight away as a whole.
    assert np.count_nonzero(np.array(second)) == 12
    assert report.sparsity == 36 / 144


def test_random_zeros_depend_on_the_seed_alone():
    kept = []
    for seed in (1, 1, 2):
        model = make_model()
        prune(model, 0.5, criterion="random", seed=seed)
        kept.append(np.array(model.layers[0].kernel) != 0)
    assert (kept[0] == kept[1]).all()
    assert (kept[0] != kept[2]).any()


def test_pruning_twice_changes_nothing():
    model = make_model()
    prune(model, 0.5)
    once = model.get_weights()
    prune(model, 0.5)
    for weight, expected in zip(model.get_weights(), once, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_rejects_a_share_that_is_not_that_of_the_pattern():
    message = r"`sparsity` must be 0\.5, as m_by_n=\(2, 4\) has it"
    with pytest.raises(ValueError, match=message):
        prune(make_model(), 0.25, m_by_n=(2, 4))


def test_rejects_a_model_with_nothing_to_prune():
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    with pytest.raises(ValueError, match=r"`model` must be one with weights that can"):
        prune(model, 0.5)
