"""The strategies that tests run under."""

import functools

import pytest
import tensorflow as tf
from tensorflow.python.data.ops import (  # noqa: TID251
    multi_device_iterator_ops as iterators,
)


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


def traced_once(trace):
    """Lets the iterators for two replicas share what TensorFlow traces for each anew.

    It does so in every epoch, which takes longer than the few steps of most tests. The
    functions are the same for all data of one kind, but for what they capture.
    """
    known = {}

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
