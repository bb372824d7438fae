"""The loss of a model over all data, as a function of one vector."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._silent_pass import silent_pass
from keras_ext._anatomy._trial import loss_of
from keras_ext._core._checks import require
from keras_ext._core._typing import Data, Tensor
from keras_ext._keras._replica import PerReplica

# Not "mean_with_sample_weight": Keras divides by the sum of the weights in a batch, and
# rows of other batches would count differently.
_REDUCTIONS = ("sum_over_batch_size", "mean")


class FlatObjective:
    """Computes loss and gradient of a model over batches, at any weights.

    The model runs as in inference, so that the same weights always have the same loss.
    It keeps its own weights, and writes nothing. Batches are divided among the replicas
    of its strategy, and their losses weighed by their rows, so that neither the size of
    batches nor the number of replicas changes the result.

    Args:
        model: The model, built and compiled.
        batches: Yields `(x, y, sample_weight)`, each time the same.

    Raises:
        ValueError: If a loss does not average over the samples.
    """

    def __init__(self, model: keras.Model, batches: Iterable[tuple[Data, ...]]) -> None:
        _require_means(model)
        self._model = model
        self._batches = batches
        self._variables = model.trainable_variables
        require(
            bool(self._variables), "model", [], "one with weights that are trainable"
        )
        wide = all(v.dtype == "float64" for v in self._variables)
        self._dtype = "float64" if wide else "float32"
        self._sizes = [int(np.prod(v.shape)) for v in self._variables]
        # The last batch may have fewer rows: one more trace, of any number of rows.
        self._of_batch = tf.function(
            self._summed, autograph=False, reduce_retracing=True
        )
        self.evaluations = 0

    @property
    def weights(self) -> np.ndarray:
        """The weights of the model, as one vector."""
        values = [keras.ops.convert_to_numpy(v).ravel() for v in self._variables]
        return np.concatenate(values).astype("float64")

    def assign(self, flat: np.ndarray) -> None:
        """Gives the model the weights of a vector."""
        parts = np.split(flat, np.cumsum(self._sizes)[:-1])
        for variable, part in zip(self._variables, parts, strict=True):
            variable.assign(part.reshape(variable.shape))

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns the loss at these weights, and its gradient."""
        self.evaluations += 1
        weights = tf.constant(flat, self._dtype)
        rows, loss = 0, 0.0
        gradient = np.zeros(len(flat))
        for batch in self._batches:
            found = self._of_batch(weights, *self._divided(batch))
            # In double precision: rounding would look like a rise to a line search.
            rows += int(_rows(batch))
            loss += float(found[0])
            gradient += np.asarray(found[1], "float64")
        return loss / rows, gradient / rows

    def _divided(self, batch: tuple[Data, ...]) -> Data:
        """The parts of a batch for the replicas."""
        strategy = self._model.distribute_strategy
        replicas = strategy.num_replicas_in_sync
        if replicas == 1:
            return batch
        hint = "Each replica needs one. Take larger batches, or fewer replicas."
        expected = f"batches of at least {replicas} rows"
        rows = int(_rows(batch))
        require(rows >= replicas, "x", rows, expected, hint)

        def divide(array: Data) -> PerReplica:
            parts = np.array_split(np.asarray(array), replicas)
            return strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(parts[context.replica_id_in_sync_group])
            )

        return keras.tree.map_structure(divide, batch, none_is_leaf=False)

    def _summed(self, flat: Tensor, *batch: Data) -> list[Tensor]:
        strategy = self._model.distribute_strategy
        each = strategy.run(self._on_replica, args=(flat, *batch))
        return [strategy.reduce("SUM", value, axis=None) for value in each]

    def _on_replica(
        self, flat: Tensor, x: Data, y: Data, sample_weight: Data
    ) -> tuple[Tensor, Tensor]:
        """Loss and gradient, times the number of rows."""
        with tf.GradientTape() as tape:
            tape.watch(flat)
            with silent_pass(self._model, self._values(flat)):
                loss = loss_of(self._model, x, y, sample_weight, training=False)
            # As with every loss of Keras, what the replicas have is to be summed.
            replicas = self._model.distribute_strategy.num_replicas_in_sync
            total = loss * tf.cast(_rows((x, y)) * replicas, loss.dtype)
        return total, tape.gradient(total, flat)

    def _values(self, flat: Tensor) -> list[Tensor]:
        parts = tf.split(flat, self._sizes)
        return [
            tf.cast(tf.reshape(part, v.shape), v.dtype)
            for v, part in zip(self._variables, parts, strict=True)
        ]


def _rows(batch: Sequence[Data]) -> Tensor | int:
    leaf = next(a for a in keras.tree.flatten(batch) if a is not None)
    return tf.shape(leaf)[0] if tf.is_tensor(leaf) else len(leaf)


def _require_means(model: keras.Model) -> None:
    for loss in keras.tree.flatten(model.loss):
        # Losses given by name or as a function get this reduction from Keras.
        found = getattr(loss, "reduction", _REDUCTIONS[0])
        hint = "The loss of all data is the mean of the losses of batches."
        require(found in _REDUCTIONS, "reduction", found, f"one of {_REDUCTIONS}", hint)
