"""Two repairs of Keras under strategies of tf.distribute, while they are needed.

Private names, all in the module
`keras.src.backend.tensorflow.trainer`, of Keras 3.14 and 3.15,

1. `TensorFlowTrainer._maybe_symbolic_build` reduces a whole batch to its mean over the
   replicas to learn the shapes, which fails with several workers, and wherever the
   replicas do not have equally many samples. The part of one replica will do.
2. `reduce_per_replica` asks for the mean of metrics over their first axis, of which
   scalars have none; that fails with several workers. The mean over the replicas is
   meant.

Where Keras does not contain a fault any more, nothing is replaced. What is replaced
stays so for the process, since a model is trained after the strategy was made, at any
time; for other strategies it does what it did.
"""

import inspect
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import trainer as _trainer  # noqa: TID251

from keras_ext._core._typing import Data, Function, Record, Strategy, Tensor
from keras_ext._keras._replica import PerReplica

_BUILD, _REDUCE = "_maybe_symbolic_build", "reduce_per_replica"
# What the faulty lines of Keras read like.
_FAULTY = {
    _BUILD: 'self.distribute_strategy.reduce(\n"MEAN",',
    _REDUCE: 'strategy.reduce("MEAN", v, axis=0)',
}


# What was replaced, by name.
_originals: Record = {}


def faults() -> list[str]:
    """Which of the two functions Keras has with their faults at the moment."""
    return [name for name, faulty in _FAULTY.items() if _contains(name, faulty)]


def _owner(name: str) -> type | ModuleType:
    return _trainer.TensorFlowTrainer if name == _BUILD else _trainer


def _contains(name: str, faulty: str) -> bool:
    function = getattr(_owner(name), name, None)
    if function is None or name in _originals:
        return False
    try:
        lines = inspect.getsource(function).splitlines()
    except OSError:  # Keras was installed without its sources.
        return keras.__version__.startswith(("3.14.", "3.15."))
    return faulty in "\n".join(line.strip() for line in lines)


def repair() -> None:
    """Repairs what is to be repaired."""
    repairs = {_BUILD: _build_from_local_batch, _REDUCE: _reduce_metrics}
    for name in faults():
        _originals[name] = getattr(_owner(name), name)
        setattr(_owner(name), name, repairs[name](_originals[name]))


def take_back(names: Iterable[str] = tuple(_FAULTY)) -> None:
    """Leaves functions as Keras has them, for comparisons."""
    for name in names:
        if name in _originals:
            setattr(_owner(name), name, _originals.pop(name))


# What Keras reads an epoch with: the first and the last step of each turn, and batches.
_Epoch = Iterable[tuple[int, int, Iterator[Data]]]


def _build_from_local_batch(build: Function) -> Function:
    def repaired(
        self: keras.Model, iterator: _Epoch | None = None, data_batch: Data = None
    ) -> None:
        strategy = self.distribute_strategy
        if iterator is not None and has_parts(strategy):
            data_batch, iterator = _local_batch(strategy, iterator), None
        build(self, iterator=iterator, data_batch=data_batch)

    return repaired


def _reduce_metrics(reduce: Function) -> Function:
    def repaired(values: Any, strategy: Strategy, reduction: str) -> Any:
        if not in_cluster(strategy) or reduction not in ("auto", "mean"):
            return reduce(values, strategy, reduction)
        return keras.tree.map_structure(
            lambda value: strategy.reduce("MEAN", value, axis=None), values
        )

    return repaired


def has_parts(strategy: Strategy) -> bool:
    """Whether the batches of a strategy come in several parts."""
    return strategy.num_replicas_in_sync > 1 or in_cluster(strategy)


def in_cluster(strategy: Strategy) -> bool:
    """Whether the strategy is one of a cluster of workers, even of a single one."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    resolver = strategy.cluster_resolver
    return resolver is not None and bool(resolver.cluster_spec().jobs)


def _local_batch(strategy: Strategy, iterator: _Epoch) -> Data:
    """The part of the first batch that the first local replica gets."""

    def local(value: PerReplica | tf.experimental.Optional) -> Tensor | None:
        value = strategy.experimental_local_results(value)[0]
        return None if isinstance(value, tf.experimental.Optional) else value

    for _, _, batches in iterator:
        return keras.tree.map_structure(local, next(batches))
    return None
