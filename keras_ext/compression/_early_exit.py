"""Models that are done early with rows that are easy."""

import threading
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_ext._anatomy._input_rows import input_rows
from keras_ext._core._checks import integer, is_number, number, require
from keras_ext._core._typing import Config, Data, Tensor
from keras_ext._keras._functional import is_graph
from keras_ext.compression._class_scores import ends_of
from keras_ext.compression._exit_heads import as_loss, head_of, inputs_of, stages_of


def early_exit(
    model: keras.Model,
    layers: Sequence[str],
    *,
    threshold: float | Sequence[float] = 0.3,
    loss_weight: float = 0.5,
) -> "EarlyExit":
    """Returns a model that can answer after any of several of its layers.

    Each of these layers gets a head: the mean over all places, and a `Dense` layer with
    the classes. A row leaves at the first head that is sure, that is, whose entropy is
    below a threshold; only the other rows continue. All heads learn together with the
    weights of the model, so fit the returned model; it shares its layers with the
    original. Each row of a batch leaves separately: its answer does not depend on the
    other rows.

    Args:
        model: A built functional or `Sequential` model that ends with classes, as
            logits or with a softmax.
        layers: The names of the layers to leave at, in their order. All that is
            computed must pass through each of them: no connection may skip it.
        threshold: Number in [0, 1], the share of the largest entropy, that of equal
            shares, below which a head is sure; or one for each head. It may be set
            later, as the `threshold` of the model. Defaults to `0.3`.
        loss_weight: Number >= 0, the weight of the loss of each head; that of the last
            output is one. Defaults to `0.5`.

    Returns:
        The model, not compiled; see `EarlyExit`.

    Raises:
        ValueError: If an argument is not of this form, or a connection skips a layer.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> inputs = keras.Input((4,))
        >>> x = keras.layers.Dense(8, "relu", name="first")(inputs)
        >>> x = keras.layers.Dense(8, "relu", name="second")(x)
        >>> model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
        >>> exits = kx.compression.early_exit(model, ["first"], threshold=1.0)
        >>> exits.compile("adam", "sparse_categorical_crossentropy")
        >>> x, y = np.ones((8, 4), "float32"), np.zeros(8, int)
        >>> history = exits.fit(x, y, verbose=0)
        >>> outputs, left_at = exits.predict_early(x)
        >>> outputs.shape, left_at
        ((8, 3), array([0, 0, 0, 0, 0, 0, 0, 0]))

    References:
        - [Teerapittayanon et al., 2017](https://arxiv.org/abs/1709.01686)
    """
    return EarlyExit(model, layers, threshold=threshold, loss_weight=loss_weight)


@keras.saving.register_keras_serializable(package="keras_ext")
class EarlyExit(keras.Model):
    """A model with several outputs of which each row takes the first that is sure.

    `early_exit` makes it. In training it returns the last output, and the losses of all
    heads are added up. Otherwise, as in `predict` and `evaluate`, it returns for each
    row the output of the head at which the row leaves. There all rows are computed to
    the end, since a graph cannot stop single rows; `predict_early` does stop.

    Args:
        model: See `early_exit`.
        layers: The same.
        threshold: The same. Defaults to `0.3`.
        loss_weight: The same. Defaults to `0.5`.
        **kwargs: What else a model takes, such as `name`.

    Raises:
        ValueError: If an argument is not of this form.

    Attributes:
        stages: Plain models, from one layer to the next. All but the last give the
            output of their layer and that of its head, the last one its output: to
            write each as a file.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> stack = [keras.Input((4,)), keras.layers.Dense(8, "relu", name="a")]
        >>> model = keras.Sequential([*stack, keras.layers.Dense(3)])
        >>> exits = kx.compression.EarlyExit(model, ["a"])
        >>> [stage.count_params() for stage in exits.stages]
        [67, 27]
    """

    def __init__(
        self,
        model: keras.Model,
        layers: Sequence[str],
        *,
        threshold: float | Sequence[float] = 0.3,
        loss_weight: float = 0.5,
        **kwargs: object,
    ) -> None:
        _require_graph(model)
        names = _checked_layers(model, layers)
        limits = _thresholds(threshold, len(names))
        loss_weight = number(loss_weight, "loss_weight", low=0)
        super().__init__(**kwargs)
        self.exit_layers = names
        self.loss_weight = loss_weight
        self.whole = model
        (self._end,) = ends_of(model)
        classes = model.outputs[0].shape[-1]
        cuts = [model.get_layer(name).output for name in names]
        self.heads = [
            head_of(c, n, classes, self._end) for n, c in zip(names, cuts, strict=True)
        ]
        outputs = [head(cut) for head, cut in zip(self.heads, cuts, strict=True)]
        self.branches = keras.Model(inputs_of(model), [*outputs, model.outputs[0]])
        # They share the layers of `branches`: what one learns, the other has.
        self.stages = stages_of(model, names, cuts, outputs)
        # A weight, and no number, which a compiled `predict` would keep as a constant.
        self._limits = self.add_weight(
            shape=(len(names),), initializer="zeros", trainable=False, name="threshold"
        )
        self._limits.assign(limits)
        # Each replica is traced in a thread of its own.
        self._traced = threading.local()
        self.built = True

    @property
    def threshold(self) -> list[float]:
        """The thresholds of the heads."""
        return [float(x) for x in ops.convert_to_numpy(self._limits)]

    @threshold.setter
    def threshold(self, threshold: float | Sequence[float]) -> None:
        self._limits.assign(_thresholds(threshold, len(self.exit_layers)))

    def call(self, inputs: Data, training: bool | None = None) -> Tensor:
        *early, last = self.branches(inputs, training=training)
        if training:
            # Keras hands to `compute_loss` only what `call` returns.
            self._traced.early = early
            return last
        chosen = last
        # From the last to the first, so that the first head that is sure has the word.
        for i in reversed(range(len(early))):
            sure = self._entropy(early[i]) < self._limits[i]
            chosen = ops.where(sure[..., None], early[i], chosen)
        return chosen

    def compute_loss(
        self,
        x: Data = None,
        y: Data = None,
        y_pred: Data = None,
        sample_weight: Data = None,
        training: bool = True,
    ) -> Tensor:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        early = getattr(self._traced, "early", [])
        # Tensors of a trace mean nothing outside of it.
        self._traced.early = []
        if not training or not early:
            return loss
        each = as_loss(self.loss)
        others = [each(y, output, sample_weight=sample_weight) for output in early]
        return loss + self.loss_weight * sum(others)

    def predict_early(
        self, x: Data, *, batch_size: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns outputs, and the number of the exit that each row has taken.

        The last output has the highest number. A stage computes only the rows that are
        left: this is what makes it fast.

        Args:
            x: An array; for a model with several inputs a list of arrays, or a
                dictionary from their names.
            batch_size: Integer >= 1, how many rows begin together. Defaults to `32`.
        """
        size = integer(batch_size, "batch_size", low=1)
        arrays = input_rows(self.whole, x, "x")
        count = len(arrays[0])
        if not count:
            # Of a row of zeros nothing is kept but the shapes.
            arrays = [np.zeros((1, *a.shape[1:]), a.dtype) for a in arrays]
        parts = [
            self._early([rows[i : i + size] for rows in arrays])
            for i in range(0, len(arrays[0]), size)
        ]
        outputs, exits = (np.concatenate(p)[:count] for p in zip(*parts, strict=True))
        return outputs, exits

    def _early(self, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        left = np.arange(len(arrays[0]))
        outputs: Any = None
        exits = np.full(len(left), len(self.stages) - 1)
        state: np.ndarray | list[np.ndarray] = arrays if len(arrays) > 1 else arrays[0]
        for i, stage in enumerate(self.stages):
            found = stage(state, training=False)
            is_last = i == len(self.stages) - 1
            given = ops.convert_to_numpy(found if is_last else found[1])
            outputs = (
                np.empty((len(left), *given.shape[1:]), given.dtype)
                if outputs is None
                else outputs
            )
            outputs[left] = given
            if is_last:
                break
            entropy = ops.convert_to_numpy(self._entropy(found[1]))
            sure = entropy < self.threshold[i]
            exits[left[sure]] = i
            left = left[~sure]
            if not len(left):
                break
            # A stage before the last gives what the next one takes, and what its head
            # says.
            state = ops.convert_to_numpy(found[0])[~sure]
        return outputs, exits

    def _entropy(self, outputs: Tensor) -> Tensor:
        """That of each row, as a share of the largest one."""
        outputs = ops.cast(outputs, "float32")
        shares = outputs if self._end == "softmax" else ops.softmax(outputs)
        # A share of 0 counts 0, not 0 * log(0) = NaN.
        logs = ops.log(ops.maximum(shares, 1e-37))
        return -ops.sum(shares * logs, axis=-1) / float(np.log(shares.shape[-1]))

    def get_config(self) -> Config:
        return {
            "name": self.name,
            "model": keras.saving.serialize_keras_object(self.whole),
            "layers": self.exit_layers,
            "threshold": self.threshold,
            "loss_weight": self.loss_weight,
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


def _require_graph(model: keras.Model) -> None:
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    rule = "a built Sequential or functional model with one output of classes"
    fits = is_graph(model) and model.built and len(model.outputs) == 1
    fits = fits and len(model.outputs[0].shape) == 2 and model.outputs[0].shape[-1] > 1
    require(fits, "model", model.name, rule)


def _checked_layers(model: keras.Model, layers: Sequence[str]) -> list[str]:
    is_list = isinstance(layers, list | tuple)
    names = list(layers) if is_list else []
    known = [layer.name for layer in model.layers]
    fits = bool(names) and all(name in known for name in names)
    fits = fits and len(set(names)) == len(names)
    require(fits, "layers", layers, f"names of layers, of {known}, each once")
    return names


def _thresholds(threshold: Any, count: int) -> list[float]:
    one = is_number(threshold)
    values = [threshold] * count if one else threshold
    valid = isinstance(values, list | tuple) and len(values) == count
    valid = valid and all(is_number(x) and 0 <= x <= 1 for x in values)
    rule = f"a number in [0, 1], or {count} of them, one for each head"
    require(valid, "threshold", threshold, rule)
    return [float(x) for x in values]
