"""Writes models for phones and microcontrollers, and checks the files."""

import io
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._in_float32 import in_float32
from keras_ext._anatomy._input_rows import (
    as_model_takes,
    has_shape,
    input_names,
    input_rows,
)
from keras_ext._anatomy._sublayers import layer_paths
from keras_ext._anatomy._unrolled import unrolled
from keras_ext._core._checks import choice, require
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Config, Data
from keras_ext._keras._functional import is_functional
from keras_ext.compression._litert_file import LiteRTFile
from keras_ext.compression._litert_order import write_order
from keras_ext.compression._quantization_range import QuantizationRange
from keras_ext.compression._quantized_layers import Rounding

MODES = ("float32", "float16", "dynamic", "int8", "int16x8")
# How many rows an interpreter sees before it fixes ranges, and how many are compared.
_MOST_ROWS = 200
_CHECKED_ROWS = 64
_SHORTER = "Fewer rows of `representative_data` make it shorter."
# What TensorFlow takes as the name of an operation.
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


@dataclass(frozen=True)
class LiteRTReport:
    """What `to_litert` has written, as it runs on this machine; see there."""

    path: str
    mode: str
    num_bytes: int
    num_gzip_bytes: int
    num_int8_tensors: int
    max_difference: float
    agreement: float | None


def to_litert(
    model: keras.Model,
    path: str | Path,
    *,
    mode: str = "float32",
    representative_data: Data = None,
) -> LiteRTReport:
    """Writes a model as a `.tflite` file, and runs it to check that it is the same.

    The file is run and compared with the Keras model, on the representative data or,
    without any, on random rows: the converter is not trusted. The file uses only
    operations of LiteRT itself, so it runs without TensorFlow. Recurrent layers are
    unrolled in the file, not in the model: rolled layers do not run there, and crash
    the process during 8-bit calibration. Layers of other policies, such as
    `"mixed_float16"`, compute in float32 in the file. The file names inputs as the
    model does, and outputs if the model gives a dictionary.

    Args:
        model: A built model with a known input shape.
        path: The file to write; it ends with `.tflite`.
        mode: How numbers are stored. `"float32"`: as they are. `"float16"`: half the
            size. `"dynamic"`: weights of 8 bits, computing in floats. `"int8"`:
            weights, activations, inputs and outputs of 8 bits. `"int16x8"`: activations
            of 16 bits and weights of 8. Defaults to `"float32"`.
        representative_data: Some hundred rows as the model takes them, from which the
            ranges of `"int8"` and `"int16x8"` are found; for several inputs in a list
            or a dictionary. A model that `quantize_aware` has made needs none, since it
            has learned them. None means none.

    Returns:
        What was written, with these attributes: the `path` and the `mode`; the size as
        `num_bytes`, and compressed by gzip as `num_gzip_bytes`; `num_int8_tensors`, how
        many tensors are of 8 bits; `max_difference`, the largest one to the outputs of
        the model in Keras; and `agreement`, the share of rows with the same largest
        output, None for a model with a single output.

    Raises:
        ValueError: If an argument is not of this form; if the model has a recurrent
            layer and no fixed length of its sequences, or was quantized by
            `model.quantize`: of these the converter makes files that do not run; if it
            is made by `quantize_aware` and has not been trained; if it has an operation
            that LiteRT has not, which is named; or if an input has a name with spaces,
            or outputs are nested.

    Examples:
        >>> import pathlib, tempfile
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> path = pathlib.Path(tempfile.mkdtemp(), "model.tflite")
        >>> x = np.random.default_rng(0).normal(size=(99, 4)).astype("float32")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> report = kx.compression.to_litert(
        ...     model, path, mode="int8", representative_data=x
        ... )
        >>> report.num_int8_tensors > 0, report.max_difference < 0.1
        (True, True)
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    known = model.built and bool(getattr(model, "inputs", None))
    rule = "a built model with a known input shape"
    hint = "For one with a `call` of its own: keras.Model(x, model(x)), x an Input."
    require(known, "model", model.name, rule, hint)
    is_path = isinstance(path, str | Path) and str(path).endswith(".tflite")
    require(is_path, "path", path, "a path that ends with .tflite")
    choice(mode, "mode", MODES)
    _require_convertible(model)
    rows = _rows(model, representative_data)
    options = _options(model, mode, representative_data is not None, rows)
    with warnings.catch_warnings():
        # TensorFlow 2.20 says that it uses the ranges that are in the model.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        # The converter uses its own, to find ranges by the names of inputs.
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is")
        # Keras 3.14 prints whatever `verbose` says.
        silent = redirect_stdout(io.StringIO())
        with unrolled(model), in_float32(model), _told_what_is_missing(model), silent:
            model.export(str(path), format="litert", verbose=False, **options)
    names = input_names(model)
    if len(names) > 1:
        write_order(path, names)
    return _checked(model, path, mode, [x[:_CHECKED_ROWS] for x in rows])


@contextmanager
def _told_what_is_missing(model: keras.Model) -> Iterator[None]:
    """Says which operations LiteRT does not have, in place of pages of graph."""
    try:
        yield
    except Exception as error:
        found = re.search(r"TF Select ops: (.*)", str(error))
        if found is None:
            raise
        rule = f"one of operations that LiteRT has, and not of {found[1]}"
        message = f"`model` must be {rule}. Received: model={model.name!r}."
        raise ValueError(f"{message} Leave them out of the file.") from error


def _require_convertible(model: keras.Model) -> None:
    rolled, quantized = [], []
    for layer, path in layer_paths(model).items():
        if isinstance(layer, keras.layers.RNN):
            rolled.append(path)
        if getattr(layer, "quantization_mode", None) is not None:
            quantized.append(path)
    # Rolled, they would end the process when ranges are found.
    known = all(n is not None for i in model.inputs for n in i.shape[1:])
    hint = "Make it with an Input of a fixed length, and take over the weights."
    rule = f"one whose sequences have a fixed length, for {rolled} to be unrolled"
    require(known or not rolled, "model", model.name, rule, hint)
    hint = "Convert the float model: LiteRT has a quantization of its own."
    rule = f"one without layers of model.quantize, as {quantized[:3]}"
    require(not quantized, "model", model.name, rule, hint)
    unseen = [
        path
        for layer, path in layer_paths(model).items()
        if isinstance(layer, QuantizationRange) and not float(layer.seen)
    ]
    hint = "Fit it for an epoch, or call it on some rows with training=True."
    rule = f"one that has seen rows in training, for the ranges {unseen[:3]}"
    require(not unseen, "model", model.name, rule, hint)
    _require_names(model)


def _require_names(model: keras.Model) -> None:
    """Raises for inputs and outputs that a file cannot name."""
    names = input_names(model)
    # TensorFlow makes arguments of a function of them.
    arguments = {re.sub(r"\W", "_", name) for name in names}
    fits = len(arguments) == len(names) and all(map(_NAME.fullmatch, names))
    rule = f"one whose inputs have names of letters, digits and _, not {names}"
    hint = "Say Input(..., name=...), each its own."
    require(fits, "model", model.name, rule, hint)
    outputs = model.output if is_functional(model) else model.outputs
    parts = outputs.values() if isinstance(outputs, dict) else outputs
    parts = [parts] if isinstance(parts, keras.KerasTensor) else parts
    flat = all(isinstance(part, keras.KerasTensor) for part in parts)
    rule = "one that gives a tensor, a list of them or a dictionary, not nested ones"
    require(flat, "model", model.name, rule)


def _rows(model: keras.Model, data: Data) -> list[np.ndarray]:
    """The data, or random rows of the shapes and dtypes of the inputs."""
    inputs = model.inputs
    if data is not None:
        rows = input_rows(model, data, "representative_data")
        shapes = [(None, *i.shape[1:]) for i in inputs]
        valid = all(map(has_shape, rows, shapes)) and len(rows[0]) > 0
        rule = f"{len(inputs)} arrays with rows, of the shapes {shapes}"
        require(valid, "representative_data", data, rule)
        pairs = zip(rows, inputs, strict=True)
        return [x[:_MOST_ROWS].astype(i.dtype) for x, i in pairs]
    rng = np.random.default_rng(0)
    rows = []
    for i in inputs:
        shape = (_CHECKED_ROWS, *(n or 8 for n in i.shape[1:]))
        if "int" not in i.dtype:
            rows.append(rng.uniform(0, 1, shape).astype(i.dtype))
            continue
        # Tokens that every embedding has. Of a mask that is 0, a row has some left.
        tokens = rng.integers(0, _fewest_tokens(model), shape)
        tokens[:, :1] = tokens.max()
        rows.append(tokens.astype(i.dtype))
    return rows


def _fewest_tokens(model: keras.Model) -> int:
    kind = keras.layers.Embedding
    found = [layer for layer in layer_paths(model) if isinstance(layer, kind)]
    return min([2, *(layer.input_dim for layer in found)])


def _options(
    model: keras.Model, mode: str, given: bool, rows: list[np.ndarray]
) -> Config:
    """What the converter is told."""
    ops = tf.lite.OpsSet
    kept, spec = {"optimizations": [tf.lite.Optimize.DEFAULT]}, "target_spec"
    # Keras adds SELECT_TF_OPS by default, which a plain interpreter does not have.
    builtins = {"supported_ops": [ops.TFLITE_BUILTINS]}
    if mode == "float32":
        return {spec: builtins}
    if mode == "float16":
        return {**kept, spec: {**builtins, "supported_types": [tf.float16]}}
    if mode == "dynamic":
        return {**kept, spec: builtins}
    rounding = (QuantizationRange, Rounding)
    learned = any(isinstance(x, rounding) for x in layer_paths(model))
    hint = "Some hundred rows of the training data will do."
    rule = f'given for mode="{mode}", unless the model is made by quantize_aware'
    fits = given or (learned and mode == "int8")
    require(fits, "representative_data", None, rule, hint)
    screen = sys.stdout  # what the converter prints goes elsewhere

    def representative() -> Iterator[dict[str, np.ndarray]]:
        # By name: the file has the inputs in an order of its own.
        names, count = input_names(model), len(rows[0])
        progress = Progress(shorter=_SHORTER)
        for i in range(count):
            yield {n: x[i : i + 1] for n, x in zip(names, rows, strict=True)}
            with redirect_stdout(screen):
                progress(i + 1, count)

    data: Config = {} if learned else {"representative_dataset": representative}
    if mode == "int16x8":
        # What has no kernel for 16 bits stays in float.
        wide = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        return {**kept, **data, spec: {"supported_ops": [wide, ops.TFLITE_BUILTINS]}}
    # Not TFLITE_BUILTINS_INT8, which wants a data set even if the model has its ranges.
    ends = {"inference_input_type": tf.int8, "inference_output_type": tf.int8}
    return {**kept, **data, **ends, spec: builtins}


def _checked(
    model: keras.Model, path: str | Path, mode: str, rows: list[np.ndarray]
) -> LiteRTReport:
    file = LiteRTFile(path)
    given = dict(zip(input_names(model), rows, strict=True))
    actual = keras.tree.flatten(file.predict(given))
    outputs = model(as_model_takes(model, rows), training=False)
    expected = [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(outputs)]
    pairs = list(zip(actual, expected, strict=True))
    agreement = None
    if len(pairs) == 1 and expected[0].shape[-1] > 1:
        same = actual[0].argmax(-1) == expected[0].argmax(-1)
        agreement = float(np.mean(same))
    return LiteRTReport(
        str(path),
        mode,
        file.num_bytes,
        file.num_gzip_bytes,
        file.num_int8_tensors,
        max(_difference(a, b) for a, b in pairs),
        agreement,
    )


def _difference(actual: np.ndarray, expected: np.ndarray) -> float:
    # Not of booleans or of whole numbers without a sign.
    actual, expected = actual.astype("float64"), expected.astype("float64")
    # What is NaN in both is the same.
    same = np.isnan(actual) & np.isnan(expected)
    return float(np.max(np.abs(actual - expected), initial=0.0, where=~same))
