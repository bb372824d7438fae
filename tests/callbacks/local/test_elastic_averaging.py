import keras
import numpy as np
import pytest

from keras_ext.callbacks import ElasticAveraging
from tests.callbacks.local.test_local_sgd import copies, fit, linear
from tests.distribute import workers
from tests.thorough import LONG


@pytest.mark.parametrize(("sync_every", "elasticity"), [(1, 0.9), (6, 0.5)])
@pytest.mark.thorough(LONG)
def test_is_the_algorithm_of_the_paper(sync_every, elasticity, strategies):
    """The replicas stay apart between epochs, and the center is left."""
    model = linear(strategies(2))
    start = model.get_weights()[0]
    wanted = workers.elastic_averaging(start, 3, sync_every, elasticity)
    centers = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: centers.append(model.get_weights()[0])
    )
    elastic = ElasticAveraging(sync_every, elasticity=elasticity)
    history = fit(model, [look, elastic], epochs=3).history
    for center, (oracle, _, _) in zip(centers, wanted, strict=True):
        np.testing.assert_allclose(center, oracle, rtol=1e-5)
    center, momenta, _ = wanted[-1]
    for replica in copies(model):
        np.testing.assert_allclose(replica, center, rtol=1e-5)
    found = model.optimizer.variables[2].numpy()
    np.testing.assert_allclose(found, momenta, rtol=1e-4, atol=1e-6)
    assert history["synchronizations"] == [n for _, _, n in wanted]


@pytest.mark.thorough(LONG)
def test_looking_changes_nothing(strategies):
    results = []
    for callbacks in ([], [Looks()]):
        model = linear(strategies(2))
        validation = workers.arrays() if callbacks else None
        elastic = [ElasticAveraging(4), *callbacks]
        fit(model, elastic, validation_data=validation)
        results.append(model.get_weights()[0])
    np.testing.assert_array_equal(*results)


class Looks(keras.callbacks.Callback):
    """Evaluates and looks at the weights in the middle of epochs."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 7:
            self.model.evaluate(*workers.arrays(), verbose=0)
            self.model.get_weights()


@pytest.mark.parametrize("elasticity", [0.0, 1.5, None])
def test_bad_arguments(elasticity):
    with pytest.raises(ValueError, match=r"`elasticity` must be a number in \(0, 1\]"):
        ElasticAveraging(elasticity=elasticity)
    with pytest.raises(ValueError, match="`sync_every` must be an integer >= 1"):
        ElasticAveraging(0)
