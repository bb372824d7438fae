"""The strategies that tests run under, and what saves them time."""

import ctypes
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.trainers.data_adapters import array_slicing  # noqa: TID251
from keras.src.trainers.data_adapters.array_data_adapter import (  # noqa: TID251
    ArrayDataAdapter,
)
from tensorflow.python.data.ops import (  # noqa: TID251
    multi_device_iterator_ops as iterators,
)


@pytest.fixture(autouse=True)
def _optimizer_is_built_before_the_step(request, monkeypatch):
    """Left to the step, TensorFlow traces it twice: with new variables, and without.

    Tests with `graphs_as_shipped` do it as `fit` does.
    """
    if "graphs_as_shipped" in request.fixturenames:
        return
    make = keras.Model.make_train_function

    @functools.wraps(make)
    def build_and_make(model, force=False):
        optimizer = model.optimizer
        if model.built and optimizer is not None and not optimizer.built:
            with model.distribute_strategy.scope():
                optimizer.build(model.trainable_variables)
        return make(model, force)

    monkeypatch.setattr(keras.Model, "make_train_function", build_and_make)


@pytest.fixture(scope="session")
def strategies():
    """Returns a function from a number of replicas, 1 or 2, to a strategy."""
    mirrored = []

    def strategy(replicas):
        if replicas == 1:
            return tf.distribute.get_strategy()
        assert replicas == 2
        # Two of them in one process would mix up the keys of their collectives.
        if not mirrored:
            mirrored.append(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
        return mirrored[0]

    with pytest.MonkeyPatch.context() as patch:
        generator = iterators._PerDeviceGenerator
        patch.setattr(generator, "__init__", traced_once(generator.__init__))
        # It would go back to what the functions captured first.
        again = "_ReincarnatedPerDeviceGenerator"
        patch.setattr(iterators, again, lambda dataset, incarnation_id: dataset)
        yield strategy


@pytest.fixture(scope="session", autouse=True)
def _arrays_in_order_are_sliced(pytestconfig):
    """Four functions are traced for the arrays of each `fit`, `evaluate` and `predict`.

    They shuffle. Batches in order can be had without, and are the same.
    """
    made_by_keras = ArrayDataAdapter.get_tf_dataset

    def dataset_of(self):
        arrays = self._inputs
        plain = all(type(a) is np.ndarray for a in keras.tree.flatten(arrays))
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if self._shuffle or not plain or replicas > 1:
            return made_by_keras(self)
        arrays = array_slicing.convert_to_sliceable(arrays, target_backend="tensorflow")
        dataset = tf.data.Dataset.from_tensor_slices(keras.tree.lists_to_tuples(arrays))
        even = not self._partial_batch_size
        return dataset.batch(self._batch_size, drop_remainder=even)

    with pytest.MonkeyPatch.context() as patch:
        if not pytestconfig.getoption("as_shipped"):
            patch.setattr(ArrayDataAdapter, "get_tf_dataset", dataset_of)
        yield


def traced_once(trace):
    """Lets the iterators for two replicas share what TensorFlow traces for each anew.

    It does so in every epoch, which takes longer than the few steps of most tests. The
    functions are the same for all data of one kind, but for what they capture.
    """
    known = {}
    # Never freed, not even at the end: an iterator that goes after its data may wait
    # for one of its threads for minutes.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(known))

    @functools.wraps(trace)
    def init(self, shard_num, iterator, incarnation_id, source_device, spec, **options):
        given = iterator, incarnation_id, source_device
        first, old = known.setdefault((shard_num, str(spec)), (self, given))
        if first is self:
            trace(self, shard_num, *given, spec, **options)
            return
        vars(self).update(vars(first))
        handle = tf.raw_ops.MultiDeviceIteratorToStringHandle(
            multi_device_iterator=iterator
        )
        captures = {id(a): b for a, b in zip(old, given, strict=True)}
        inputs = {}
        for step in ("init", "next", "finalize"):
            name = f"_{step}_captured_args"
            # The one that was not given is the handle of the iterator.
            new = [captures.get(id(tensor), handle) for tensor in vars(first)[name]]
            setattr(self, name, new)
            inputs[f"{step}_func_other_args"] = new
            inputs[f"{step}_func"] = vars(first)[f"_{step}_func"]
        dataset = iterators.gen_dataset_ops.generator_dataset(
            **inputs, **self._flat_structure
        )
        iterators.dataset_ops.DatasetV2.__init__(self, dataset)

    return init
