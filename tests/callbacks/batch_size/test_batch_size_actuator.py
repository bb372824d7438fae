from types import SimpleNamespace

import keras
import pytest

from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._fit._fit_scope import FitScope
from keras_ext.callbacks.batch_size._batch_size_actuator import BatchSizeActuator
from keras_ext.optimizers import GradientPipeline


@pytest.fixture
def pipeline():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with FitScope.joining(model, "owner") as scope:
        # The scope does not keep the model.
        yield AttachedPipeline.of(scope)
    scope.close()


def actuator(pipeline, data=None, largest=64, largest_batch=None, accumulates=True):
    made = BatchSizeActuator(pipeline, 8, data, largest, largest_batch, accumulates)
    return lambda size: (made.set(size), made.batch, int(pipeline.accumulation_steps))


def batches():
    return SimpleNamespace(batch_size=8, sizes=[32, 8, 16])


def test_batches_of_one_size_are_accumulated(pipeline):
    set_size = actuator(pipeline)
    # The size of an update, of a batch, and how many make an update.
    assert set_size(8) == (8, 8, 1)
    assert set_size(31.9) == (24, 8, 3)
    assert set_size(64) == (64, 8, 8)
    # Not less than there is in a batch.
    assert set_size(3) == (8, 8, 1)


def test_without_accumulation_it_is_the_largest_batch_that_fits(pipeline):
    data = batches()
    set_size = actuator(pipeline, data, accumulates=False)
    assert [set_size(size) for size in (31, 32, 500, 1)] == [
        (16, 16, 1), (32, 32, 1), (32, 32, 1), (8, 8, 1),
    ]  # fmt: skip
    assert data.batch_size == 8
    assert pipeline.accumulation_steps.bounds == (1, 1)


def test_beyond_the_largest_batch_it_accumulates(pipeline):
    data = batches()
    set_size = actuator(pipeline, data, largest_batch=16)
    assert set_size(16) == (16, 16, 1)
    assert set_size(50) == (48, 16, 3)
    assert data.batch_size == 16
    assert pipeline.accumulation_steps.bounds == (1, 4)


def test_what_the_optimizer_accumulates_by_itself_counts(pipeline):
    pipeline.optimizer = GradientPipeline("sgd", accumulation_steps=2)
    set_size = actuator(pipeline, batches(), largest_batch=16)
    assert set_size(63) == (32, 16, 1)
    assert set_size(64) == (64, 16, 2)
    assert set_size(1) == (16, 8, 1)
    assert pipeline.accumulation_steps.bounds == (1, 2)


def test_data_that_has_the_size_is_left_alone(pipeline):
    class Data:
        sizes = (8, 16)
        assigned = []
        batch_size = property(lambda self: 8, lambda self, n: self.assigned.append(n))

    set_size = actuator(pipeline, Data(), accumulates=False)
    set_size(9)
    assert Data.assigned == []
    set_size(16)
    assert Data.assigned == [16]
