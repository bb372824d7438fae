"""Monte-Carlo prediction with dropout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from keras_ext._anatomy._linked_method import Link, Method, link_method
from keras_ext._anatomy._outputs import Outputs, highest, number_of_top
from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._checks import choice, flag, integer, require
from keras_ext._core._progress import Progress
from keras_ext._core._typing import (
    Data,
    Function,
    Layer,
    Logs,
    OutputChoice,
    Shape,
    Tensor,
)
from keras_ext.layers.dropout._noise_layer import NoiseLayer
from keras_ext.uncertainty._moments import moments

KINDS = ("values", "probabilities", "logits")

# What one output puts out, or each of several, in their order or by name.
_Kind = str | Sequence[str] | Mapping[str, str]


class MonteCarloPrediction(NamedTuple):
    """What `mc_predict` returns, NumPy arrays; of several outputs structures of these.

    Attributes:
        mean: The mean over the samples, of probabilities if the outputs are such.
        variance: The variance over the samples.
        entropy: The entropy of the mean, in nats: all uncertainty. None for values.
        mutual_information: The part of it that is due to the model, and that more data
            would take away; the rest is noise in the data. None for values.
    """

    mean: Data
    variance: Data
    entropy: Data = None
    mutual_information: Data = None


def mc_predict(
    model: keras.Model,
    x: Data,
    *,
    num_samples: int = 50,
    batch_size: int = 32,
    outputs: OutputChoice = None,
    kind: _Kind = "values",
    show_progress: bool = True,
) -> MonteCarloPrediction:
    """Predicts with dropout, many times, to know how sure a model is.

    Trained with dropout, a network approximates a distribution over networks
    (Monte-Carlo dropout). Every sample is a prediction with other masks; their mean is
    the prediction, their spread says how uncertain the model is. All samples of a batch
    are drawn within one compiled step, in the memory of one.

    Only what drops is active: `Dropout`, `SpatialDropout`, `GaussianDropout` and
    `AlphaDropout` of Keras, also in attention layers, dropout in `LSTM`, `GRU`,
    `SimpleRNN` and the cells of an `RNN`, and the layers of `keras_ext.layers`.
    Everything else, such as batch normalization, stays in inference mode, and the model
    is left as it was, but for the state of its random numbers.

    Args:
        model: A built model.
        x: The data, whatever `model.predict` takes: arrays, alone or in lists, tuples
            and dictionaries; a DataFrame, also for a model of a dictionary of its
            columns; a `tf.data.Dataset` of batches; or a `PyDataset`.
        num_samples: Integer >= 1, the number of predictions to draw for each
            example. Defaults to `50`.
        batch_size: Integer >= 1, how many examples are predicted at a time, unless
            the data come in batches. Defaults to `32`.
        outputs: Which outputs, as for `keras_ext.explain.Explainer`: None for all, in
            the structure that `predict` returns; a number or name, or a list of these;
            `"top"` for the highest mean of each row, `("top", k)` for the `k` highest;
            or a function from what the model puts out to what is wanted of it. Chosen
            entries stand side by side, `(rows, entries)`; uncertainties are those of
            the whole output that an entry is of.
        kind: What the model puts out: `"values"`; `"probabilities"` of classes along
            the last axis, or of one class if that has one entry; or the `"logits"`
            of such. For several outputs also a list of these, or a dictionary by name.
            Defaults to `"values"`.
        show_progress: Whether to show how far it is, if it takes more than two seconds.
            Defaults to `True`.

    Returns:
        A tuple of arrays, `mean`, `variance`, `entropy` and `mutual_information`; the
        last two, one number for each example, are None for `"values"`.

    Raises:
        ValueError: If an argument is not of this form, or nothing in the model drops.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((2,)),
        ...         keras.layers.Dropout(0.5, seed=0),
        ...         keras.layers.Dense(1, kernel_initializer="ones"),
        ...     ]
        ... )
        >>> x = np.array([[1.0, 0.0], [3.0, 0.0]])
        >>> prediction = kx.uncertainty.mc_predict(model, x, num_samples=1000)
        >>> print(prediction.mean[:, 0].round(), prediction.variance[:, 0].round())
        [1. 3.] [1. 9.]

    References:
        - [Gal and Ghahramani, 2016](https://arxiv.org/abs/1506.02142)
        - [Gal, Islam and Ghahramani, 2017](https://arxiv.org/abs/1703.02910), mutual
          information
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    num_samples = integer(num_samples, "num_samples", low=1)
    batch_size = integer(batch_size, "batch_size", low=1)
    shown = _Shown(flag(show_progress, "show_progress"))
    x = _arranged(model, x)
    draws = _Draws(model, num_samples, outputs, kind)
    with _drawing(model, draws.statistics):
        found = model.predict(x, batch_size=batch_size, verbose=0, callbacks=[shown])
    return draws.prediction(found)


class _Shown(keras.callbacks.Callback):
    """Shows how far a prediction is; Keras fetches every batch anyway."""

    def __init__(self, show: bool) -> None:
        super().__init__()
        self._progress = Progress(show, shorter="Fewer `num_samples` make it shorter.")

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        batches = (self.params or {}).get("steps")
        if batches:
            self._progress(min(batch + 1, int(batches)), int(batches))


def _arranged(model: keras.Model, x: Data) -> Data:
    """A DataFrame for a model of columns as these; all else as it is."""
    _require_data(x)
    wanted = getattr(model, "input", None)
    if not (hasattr(x, "columns") and isinstance(wanted, dict)):
        return x
    rule = f"a DataFrame of the columns {sorted(wanted)}"
    require(set(x.columns) == set(wanted), "x", list(x.columns), rule)
    return {column: x[column].to_numpy() for column in x.columns}


def _require_data(x: Data) -> None:
    """Raises if Keras would stumble over what is no data at all."""
    plain = (str, bytes, bool, int, float, complex, type, list, tuple, dict, set)
    if not (x is None or isinstance(x, plain) or hasattr(x, "shape") or callable(x)):
        return  # a data set of some kind, of which Keras knows more
    leaves = keras.tree.flatten(x)
    shapes: list[Shape] = [getattr(leaf, "shape", ()) for leaf in leaves]
    valid = shapes != [] and all(len(shape) > 0 and shape[0] != 0 for shape in shapes)
    require(valid, "x", x, "arrays of one row or more, or a data set, as for `predict`")


class _Draws:
    """What is drawn of a model, and what is said of it.

    Args:
        model: The model.
        samples: How often.
        outputs: Which outputs.
        kind: What they are.
    """

    def __init__(
        self, model: keras.Model, samples: int, outputs: OutputChoice, kind: _Kind
    ) -> None:
        self._model, self._samples, self._kind = model, samples, kind
        self._function = outputs if callable(outputs) else None
        self._top = number_of_top(outputs)
        self._asked = None if self._function or self._top else outputs

    def statistics(self, predict: Callable[[], Data]) -> dict[str, list[Tensor]]:
        """Draws predictions of a batch while the step is traced."""
        raw = self._wanted(predict())
        self._structure = keras.tree.map_structure(lambda _: 0, raw)
        self._outputs = Outputs(self._model, raw)
        self._chosen = self._outputs.chosen(self._asked)
        top, count = self._top, len(self._outputs.names)
        asked = ("top", top)
        require(top is None or top <= count, "outputs", asked, f"at most {count}")
        self._involved = _owners(self._chosen, self._outputs.sizes)
        kinds = _kinds(self._kind, self._outputs.layers)
        self._kinds = [kinds[i] for i in self._involved]

        def draw() -> list[Tensor]:
            flat = keras.tree.flatten(self._wanted(predict()))
            return [flat[i] for i in self._involved]

        return moments(draw, self._samples, self._kinds)

    def prediction(
        self, found: Mapping[str, Sequence[np.ndarray]]
    ) -> MonteCarloPrediction:
        """What was found, for the outputs that are asked for."""
        mean, variance = found["mean"], found["variance"]
        uncertainties = [
            self._for_each(found[name]) for name in ("entropy", "mutual_information")
        ]
        if self._asked is None and self._top is None:
            values = [self._packed(part) for part in (mean, variance, *uncertainties)]
            return MonteCarloPrediction(*values)
        columns = [_side_by_side(part) for part in (mean, variance)]
        which = self._which(columns[0])
        chosen = [np.take_along_axis(column, which, axis=1) for column in columns]
        return MonteCarloPrediction(*chosen, *map(_joined, uncertainties))

    def _wanted(self, raw: Data) -> Data:
        return raw if self._function is None else self._function(raw)

    def _for_each(self, known: Sequence[np.ndarray]) -> Sequence[np.ndarray | None]:
        """Uncertainties in the place of their outputs, None for values."""
        waiting = iter(known)
        return [None if kind == "values" else next(waiting) for kind in self._kinds]

    def _packed(self, parts: Sequence[np.ndarray | None]) -> Data:
        if all(part is None for part in parts):
            return None
        return keras.tree.pack_sequence_as(self._structure, parts)

    def _which(self, mean: np.ndarray) -> np.ndarray:
        """The numbers of the entries of each row, among those of what was drawn."""
        if self._top is not None:
            return highest(mean, self._top)
        sizes = self._outputs.sizes
        drawn = [n for i in self._involved for n in _numbers(i, sizes)]
        places = [drawn.index(n) for n in self._chosen or ()]
        return np.tile(places, (len(mean), 1))


def _numbers(output: int, sizes: Sequence[int]) -> range:
    """The numbers of the entries of an output."""
    begin = sum(sizes[:output])
    return range(begin, begin + sizes[output])


def _owners(chosen: Sequence[int] | None, sizes: Sequence[int]) -> list[int]:
    """The outputs that these entries are of."""
    every = range(len(sizes))
    if chosen is None:
        return list(every)
    return [i for i in every if not set(_numbers(i, sizes)).isdisjoint(chosen)]


def _kinds(given: Any, names: Sequence[str]) -> list[str]:
    """The kind of each output."""
    if isinstance(given, Mapping):
        rule = f"for some of the outputs {list(names)}"
        require(set(given) <= set(names), "kind", given, rule)
        kinds = [given.get(name, "values") for name in names]
    elif isinstance(given, list | tuple):
        rule = f"{len(names)} of {KINDS}, one for each output"
        require(len(given) == len(names), "kind", given, rule)
        kinds = list(given)
    else:
        kinds = [given] * len(names)
    return [choice(kind, "kind", KINDS) for kind in kinds]


def _side_by_side(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _joined(parts: Sequence[np.ndarray | None]) -> Data:
    """The uncertainties of outputs that are none of values."""
    known = [part for part in parts if part is not None]
    if len(known) < 2:
        return known[0] if known else None
    return _side_by_side(known)


@contextmanager
def _drawing(model: keras.Model, statistics: Function) -> Iterator[None]:
    """Lets `predict` return statistics, with the layers that drop doing so."""
    found = [layer for layer in sublayers(model) if _drops(layer)]
    hint = "Without one every sample is the same. Add a Dropout, and train with it."
    require(bool(found), "model", model, "one with a layer that drops", hint)
    function = model.predict_function

    def link(predict_step: Method) -> Method:
        return lambda data: statistics(lambda: predict_step(data))

    with ExitStack() as stack:
        for layer in found:
            stack.callback(link_method(layer, "call", _noisily(layer)))
        stack.callback(link_method(model, "predict_step", link))
        # That of a `predict` before is not this one, nor the other way round.
        stack.callback(setattr, model, "predict_function", function)
        model.predict_function = None
        yield


def _drops(layer: Layer) -> bool:
    kinds = (layers.Dropout, layers.GaussianDropout, layers.AlphaDropout, NoiseLayer)
    if isinstance(layer, layers.RNN):
        cells = getattr(layer.cell, "cells", [layer.cell])
        names = ("dropout", "recurrent_dropout")
        return any(getattr(cell, name, 0) > 0 for cell in cells for name in names)
    if isinstance(layer, layers.Attention):
        # It has no layer for its dropout; an AdditiveAttention is one as well.
        return layer.dropout > 0
    # Keras's spatial dropouts are a Dropout.
    return isinstance(layer, kinds)


def _noisily(layer: Layer) -> Link:
    if isinstance(layer, NoiseLayer):
        return lambda _: lambda inputs, training=False: layer.sample(inputs)
    return lambda call: (
        lambda *args, **kwargs: call(*args, **{**kwargs, "training": True})
    )
