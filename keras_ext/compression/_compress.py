"""From a trained model to a small file, in one call."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
from keras.callbacks import Callback

from keras_ext._anatomy._inlined import flat_names
from keras_ext._anatomy._input_rows import as_model_takes, input_rows
from keras_ext._core._checks import choice, integer, number, require
from keras_ext._core._lines import say
from keras_ext._core._progress import without_progress
from keras_ext._core._typing import Data, Pattern, Tensor
from keras_ext._keras._loss_weights import losses_of_outputs, user_loss_weights
from keras_ext._keras._optimizer_family import batches_per_update
from keras_ext.compression._cluster import cluster
from keras_ext.compression._distill import distill
from keras_ext.compression._keep_clusters import KeepClusters
from keras_ext.compression._keep_zeros import KeepZeros
from keras_ext.compression._polynomial_decay import PolynomialDecay
from keras_ext.compression._prune import Prune
from keras_ext.compression._pruned_weights import Candidate, candidates
from keras_ext.compression._pruning_report import PruningReport, report_on
from keras_ext.compression._quantize_aware import quantize_aware, strip_quantization
from keras_ext.compression._size_report import (
    SizeReport,
    gives_an_answer,
    gives_classes,
    size_report,
)
from keras_ext.compression._slowed import slowed
from keras_ext.compression._soft_targets import SoftTargets
from keras_ext.compression._to_litert import MODES, LiteRTReport, to_litert

# The rows of each input, and the labels of each output in their structure.
_Rows: TypeAlias = tuple[list[np.ndarray], Data]


@dataclass(frozen=True)
class Compressed:
    """What `compress` has made.

    Attributes:
        model: A plain model with the trained weights, in floats.
        pruned: A `PruningReport` of it.
        file: The report of `to_litert`.
        sizes: A `SizeReport`, with the model before.
    """

    model: keras.Model
    pruned: PruningReport
    file: LiteRTReport
    sizes: SizeReport


def compress(  # noqa: PLR0913
    model: keras.Model,
    path: str | Path,
    *,
    x: Data,
    y: Data,
    validation_data: Data = None,
    sparsity: float = 0.8,
    clusters: int | None = None,
    mode: str = "int8",
    exclude: Pattern = None,
    epochs: int = 12,
    batch_size: int = 32,
    label_weight: float = 0.5,
    verbose: int = 1,
) -> Compressed:
    """Prunes, distills, quantizes and writes a trained model, and says what it gained.

    A copy of the model is pruned while it learns from the labels and from the original:
    small layers, as the first and the last one often are, keep more of their weights.
    On request, its weights are clustered. With `mode="int8"` it then trains with the
    rounding of 8 bits, at a tenth of the learning rate, and keeps its zeros and
    clusters. Finally it is written as a `.tflite` file, which is run and compared. A
    line reports each step. The original stays as it is. For more control use `Prune`,
    `distill`, `cluster`, `quantize_aware` and `to_litert`, which this combines.

    Args:
        model: A trained, compiled `Sequential` or functional model. Its optimizer and
            its losses with their weights are used, the optimizer from its beginning.
        path: The file to write; it ends with `.tflite`.
        x: The data to train with, an array; for several inputs a list or a dictionary.
        y: The labels, an array; for several outputs in a list or dictionary, as the
            model gives them.
        validation_data: `(x, y)` to measure accuracies with. None means the first rows
            that are trained with.
        sparsity: Number in [0, 1), the share of zeros in all weights that are pruned; 0
            for none. Defaults to `0.8`.
        clusters: Integer in [2, 255], how many values a weight may have, besides zero;
            None for any.
        mode: How numbers are stored, as in `to_litert`. Defaults to `"int8"`.
        exclude: Which weights are not pruned, as in `Prune`. None means none.
        epochs: Integer >= 3, for how many epochs the copy is pruned: two thirds of them
            until it has all zeros, the others to recover. Each later step takes a third
            as many. Defaults to `12`.
        batch_size: Integer >= 1, the rows of a step. Defaults to `32`.
        label_weight: Number in [0, 1], how much the labels count and not what the model
            says, as in `distill`. Defaults to `0.5`.
        verbose: `1` to print a line for each step and the sizes, `0` to be silent.
            Defaults to `1`.

    Returns:
        What was made, with these attributes: `model`, a plain model with the trained
        weights; `pruned`, a `PruningReport`; `file`, the report of `to_litert`; and
        `sizes`, a `SizeReport`.

    Raises:
        ValueError: If an argument is not of this form, or `quantize_aware` or
            `to_litert` does not know a layer; before anything is trained.

    Examples:
        >>> import pathlib, tempfile
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(64, 8)).astype("float32")
        >>> y = np.argmax(x[:, :3], axis=1)
        >>> hidden = keras.layers.Dense(16, "relu", name="hidden")
        >>> stack = [keras.Input((8,)), hidden, keras.layers.Dense(3, "softmax")]
        >>> model = keras.Sequential(stack)
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> path = pathlib.Path(tempfile.mkdtemp(), "small.tflite")
        >>> small = kx.compression.compress(
        ...     model, path, x=x, y=y, sparsity=0.5, epochs=3, verbose=0
        ... )
        >>> [row.name for row in small.sizes.rows]
        ['before', 'Keras float', 'int8']
        >>> 0.45 < small.pruned.sparsity < 0.55
        True
    """
    _require_model(model)
    work = _Work(
        model,
        path,
        (x, y),
        sparsity=number(sparsity, "sparsity", low=0, below=1),
        clusters=integer(clusters, "clusters", low=2, high=255, optional=True),
        mode=choice(mode, "mode", MODES),
        exclude=exclude,
        epochs=integer(epochs, "epochs", low=3),
        batch_size=integer(batch_size, "batch_size", low=1),
        label_weight=number(label_weight, "label_weight", low=0, high=1),
        verbose=integer(verbose, "verbose", low=0, high=1),
    )
    _require_path(path)
    rows = _validation_rows(model, validation_data, work.data)
    if mode == "int8":
        # It refuses what it does not know, before anything is trained.
        quantize_aware(model)
    with without_progress():
        return work.done(rows)


class _Work:
    """The steps, and what they have in common."""

    def __init__(
        self, model: keras.Model, path: str | Path, data: Sequence[Data], **options: Any
    ) -> None:
        self.model = model
        self.path = path
        self.data = _checked_data(model, *data)
        self.options = options
        self.chosen = [c.path for c in self._candidates(model) if c.reason is None]
        # Beside the teacher they have the name of the student before them.
        self.included = [rf"(^|/){re.escape(path)}$" for path in self.chosen]
        self.begun = time.perf_counter()

    def done(self, rows: _Rows) -> Compressed:
        """Makes all the steps."""
        small = keras.models.clone_model(self.model)
        small.set_weights(self.model.get_weights())
        options = self.options
        short = max(1, options["epochs"] // 3)
        if options["sparsity"]:
            self._train(small, options["epochs"], 1.0, self._prune())
            self._say(f"pruned to {self._report(small).sparsity:.1%} zeros")
        if options["clusters"]:
            self._cluster(small, options["clusters"])
            self._train(small, short, 0.1, KeepClusters(include=self.included))
            self._say(f"clustered to {options['clusters']} values and zero")
        runs = self._quantized(small, short) if options["mode"] == "int8" else small
        data = None if options["mode"] in ("float32", "float16", "dynamic") else rows[0]
        given = {"mode": options["mode"], "representative_data": data}
        file = to_litert(runs, self.path, **given)
        self._say(
            f"written as {options['mode']}, {file.num_gzip_bytes:,} bytes in gzip"
        )
        x, y = rows
        labels = y if _are_classes(small, y) else None
        files = {options["mode"]: self.path}
        sizes = size_report(small, before=self.model, files=files, x=x, y=labels)
        if options["verbose"]:
            say(str(sizes))
        return Compressed(small, self._report(small), file, sizes)

    def _quantized(self, small: keras.Model, epochs: int) -> keras.Model:
        aware = quantize_aware(small)
        self._train(aware, epochs, 0.1, *self._keep(small))
        strip_quantization(aware, small)
        self._say("trained with the rounding of 8 bits")
        return aware

    def _cluster(self, small: keras.Model, count: int) -> None:
        """Gives each weight so many values besides its zeros, if it has some."""
        zeros = {row.path: row.zeros for row in self._report(small).rows}
        pairs = list(zip(self.chosen, self.included, strict=True))
        for with_zeros in (True, False):
            included = [own for path, own in pairs if bool(zeros[path]) == with_zeros]
            if included:
                k = count + with_zeros
                cluster(small, k, preserve_sparsity=with_zeros, include=included)

    def _keep(self, small: keras.Model) -> Sequence[keras.callbacks.Callback]:
        """What keeps the zeros and clusters of a model in its copy that is rounded."""
        chosen = {c.path: id(c.variable) for c in self._candidates(small)}
        there = {
            id(v): rf"(^|/){re.escape(f'{name}/{v.name}')}$"
            for layer, name in flat_names(small).items()
            for v in getattr(layer, "weights", [])
        }
        included = [there[chosen[path]] for path in self.chosen]
        if self.options["clusters"]:
            return [KeepClusters(include=included)]
        return [KeepZeros(include=included)] if self.options["sparsity"] else []

    def _candidates(self, model: keras.Model) -> list[Candidate]:
        return candidates(model, None, self.options["exclude"], lambda v: None)

    def _prune(self) -> Prune:
        epochs, size = self.options["epochs"], self.options["batch_size"]
        batches = -(-len(self.data[0][0]) // size)
        # Steps are updates, of which an optimizer that accumulates makes fewer.
        each = batches_per_update(self.model.optimizer)
        end = max(1, batches * (2 * epochs // 3) // each)
        every = max(1, min(batches // each, end // 20))
        schedule = PolynomialDecay(
            0.0, self.options["sparsity"], begin_step=0, end_step=end, frequency=every
        )
        if end % every:
            schedule.end_step = end - end % every
        return Prune(schedule, scope="adaptive", include=self.included, verbose=0)

    def _train(
        self, student: keras.Model, epochs: int, rate: float, *callbacks: Callback
    ) -> None:
        config = keras.optimizers.serialize(self.model.optimizer)
        optimizer = keras.optimizers.deserialize(slowed(config, rate))
        student.compile(
            optimizer,
            self.model.loss,
            loss_weights=user_loss_weights(self.model),
            jit_compile=self.model.jit_compile,
            run_eagerly=self.model.run_eagerly,
        )
        x, y = self.data
        distill(
            self.model,
            student,
            x=as_model_takes(self.model, x),
            y=y,
            losses=_what_to_learn(self.model),
            label_weight=self.options["label_weight"],
            epochs=epochs,
            batch_size=self.options["batch_size"],
            callbacks=list(callbacks),
            verbose=0,
        )

    def _report(self, model: keras.Model) -> PruningReport:
        return report_on(self._candidates(model))

    def _say(self, what: str) -> None:
        if self.options["verbose"]:
            seconds = time.perf_counter() - self.begun
            say(f"compress: {what} ({seconds:.0f} s)")


def _what_to_learn(model: keras.Model) -> keras.distillation.DistillationLoss:
    losses = [_lesson(loss) for loss in losses_of_outputs(model)]
    return losses[0] if len(losses) == 1 else _Lessons(losses)


class _Lessons(keras.distillation.DistillationLoss):
    """What a student learns of each output of a teacher.

    Args:
        losses: One for each.
    """

    def __init__(self, losses: Sequence[keras.distillation.DistillationLoss]) -> None:
        self.losses = losses

    def validate_model_compatibility(
        self, teacher: keras.Model, student: keras.Model
    ) -> None:
        for i, loss in enumerate(self.losses):
            pair = [keras.Model(m.input, m.outputs[i]) for m in (teacher, student)]
            loss.validate_model_compatibility(*pair)

    def compute_loss(
        self, teacher_outputs: Data, student_outputs: Data, **kwargs: object
    ) -> Tensor:
        outputs = map(keras.tree.flatten, (teacher_outputs, student_outputs))
        triples = zip(self.losses, *outputs, strict=True)
        return sum(loss.compute_loss(own, other) for loss, own, other in triples)


def _lesson(loss: Any) -> keras.distillation.DistillationLoss:
    if _is_crossentropy(loss):
        return SoftTargets()
    return keras.distillation.FeatureDistillation("mse")


def _is_crossentropy(loss: Any) -> bool:
    name = loss if isinstance(loss, str) else getattr(loss, "name", None)
    name = name or getattr(loss, "__name__", "")
    return "crossentropy" in str(name).lower()


def _are_classes(model: keras.Model, y: Data) -> bool:
    """Whether labels are the numbers of the classes that a model gives."""
    if _is_crossentropy(model.loss) and gives_an_answer(model, y):
        return True
    one = len(model.outputs) == 1 and gives_classes(model.outputs[0].shape)
    return one and np.issubdtype(y.dtype, np.integer) and y.ndim == 1


def _require_model(model: keras.Model) -> None:
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    fits = model.built and bool(getattr(model, "inputs", None))
    rule = "a built model with known inputs"
    require(fits, "model", model.name, rule)
    compiled = model.compiled and model.loss is not None
    hint = "Its optimizer and loss are used."
    require(compiled, "model", model.name, "a compiled model with a loss", hint)


def _require_path(path: object) -> None:
    is_path = isinstance(path, str | Path) and str(path).endswith(".tflite")
    require(is_path, "path", path, "a path that ends with .tflite")


def _checked_data(
    model: keras.Model, x: Data, y: Data, names: Sequence[str] = ("x", "y")
) -> _Rows:
    rows = input_rows(model, x, names[0])
    require(len(rows[0]) > 0, names[0], x, "an array with rows")
    count, outputs = len(rows[0]), len(model.outputs)
    labels = keras.tree.flatten(y)
    fits = len(labels) == outputs and all(getattr(a, "shape", ()) for a in labels)
    fits = fits and all(len(a) == count for a in labels)
    arrays = "an array" if outputs == 1 else f"{outputs} arrays"
    require(fits, names[1], y, f"{arrays} with {count} rows, as `x`")
    return rows, keras.tree.map_structure(np.asarray, y)


def _validation_rows(model: keras.Model, data: Data, trained: _Rows) -> _Rows:
    if data is None:
        rows, labels = trained
        return keras.tree.map_structure(lambda a: a[:1000], (rows, labels))
    name = "validation_data"
    is_pair = isinstance(data, tuple | list) and len(data) == 2
    require(is_pair, name, data, "two arrays, (x, y), or None")
    x, y = data
    return _checked_data(model, x, y, (name, name))
