import numpy as np
import pytest

from keras_ext.data import DynamicBatches
from keras_ext.diagnostics._left_as_it_was import left_as_it_was
from tests.diagnostics.test_find_batch_size import X, Y, make_model, state

BATCHES = DynamicBatches(X, Y).of_one_size(8)


def test_gives_back_what_an_error_leaves():
    model = make_model()
    model.optimizer.build(model.trainable_variables)
    before = state(model)[: len(model.variables)]
    iterator = iter(BATCHES.get_tf_dataset())
    with pytest.raises(KeyError), left_as_it_was(model, BATCHES):
        {}[float(model.train_function(iterator)["loss"])]
    for a, b in zip(before, state(model), strict=False):
        np.testing.assert_array_equal(a, b)
    assert int(model.optimizer.iterations) == 0
    assert model.train_function is None
