"""The process that `run_tfmot` starts: it alone imports tfmot."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Data, Function, Record
from keras_ext.compression._to_tf_keras import from_tf_keras, to_tf_keras


def main(job: Path) -> None:
    """Does a job that is described in a folder, and leaves there what was made.

    Args:
        job: The folder, with `model.keras`, `job.json`, and arrays if there are some.
    """
    options = json.loads((job / "job.json").read_text())
    model = keras.saving.load_model(job / "model.keras", compile=False)
    tf_keras = import_extra("tf_keras", "tfmot")
    converted = to_tf_keras(model)
    # Last: its import makes `tf.keras` mean tf_keras in the whole process.
    tfmot = import_extra("tensorflow_model_optimization", "tfmot")
    recipe = function_of(options["source"], options["name"], tf_keras)
    found = recipe(converted, tfmot, read(job, "x"), read(job, "y"))
    if not isinstance(found, tf_keras.Model):
        kind = type(found).__name__
        raise TypeError(f"The recipe must return a tf_keras.Model, and not a {kind}.")
    if options["litert"]:
        (job / "model.tflite").write_bytes(_file_of(found))
    from_tf_keras(found, model)
    weights = {f"w{i}": w for i, w in enumerate(model.get_weights())}
    np.savez(job / "weights.npz", **weights)


def function_of(source: str, name: str, tf_keras: ModuleType) -> Function:
    """The function that a source defines."""
    known: Record = {"np": np, "tf": tf, "tf_keras": tf_keras}
    exec(compile(source, f"<{name}>", "exec"), known)
    return known[name]


def read(job: Path, name: str) -> Data:
    """Arrays as they were given: one, a list, a dictionary, or None."""
    path = job / f"{name}.npz"
    if not path.exists():
        return None
    with np.load(path) as arrays:
        found = dict(arrays)
    if list(found) == ["_"]:
        return found["_"]
    if all(key.startswith("_") and key[1:].isdigit() for key in found):
        return [found[f"_{i}"] for i in range(len(found))]
    return found


def _file_of(model: Any) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    # So tfmot names the layers that it has wrapped to round, whose ranges are only used
    # if the converter optimizes.
    if any(layer.name.startswith("quant_") for layer in model.layers):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content: bytes = converter.convert()
    return content


if __name__ == "__main__":
    main(Path(sys.argv[1]))
