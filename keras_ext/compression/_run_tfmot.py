"""Runs tensorflow-model-optimization in a process of its own."""

import inspect
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import keras
import numpy as np

from keras_ext._core._checks import number, require
from keras_ext._core._lines import say
from keras_ext._core._typing import Data, Function
from keras_ext.compression._to_tf_keras import require_graph

_MOST_LINES = 15


def run_tfmot(
    model: keras.Model,
    recipe: Function,
    *,
    x: Data = None,
    y: Data = None,
    path: str | Path | None = None,
    python: str | Path | None = None,
    timeout: float | None = None,
) -> keras.Model:
    """Lets a function work on a model with tensorflow-model-optimization.

    Importing tfmot changes what `tf.keras` is, and tfmot takes only tf_keras models. So
    this starts another process, converts the model to tf_keras there, applies the
    function, and brings the weights of the returned model back. In this process nothing
    changes. Use it for features that only tfmot has, such as fewer than 8 bits or
    pruning for XNNPACK, and `Prune`, `cluster` and `quantize_aware` for the rest.

    Args:
        model: A built `Sequential` or functional model that `to_tf_keras` can convert;
            it stays as it is.
        recipe: A function of `(model, tfmot, x, y)` that returns a tf_keras model. Its
            source is run in the other process, where `np`, `tf` and `tf_keras` are
            known; other imports belong inside. It must not use what is outside of it,
            and must take off the wrappers of pruning and clustering.
        x: An array, or a list or dictionary of arrays, that the function gets. None if
            it needs none.
        y: The same, of labels. None if it needs none.
        path: A `.tflite` file to write from what the function returns, in 8 bits if
            that is a quantized model: the ranges that were learned do not come back.
            None for no file.
        python: The interpreter of an environment with TensorFlow, Keras 3,
            tensorflow-model-optimization and tf-keras. None means this one, with
            `pip install "keras-ext[tfmot]"`.
        timeout: Number > 0 of seconds after which the process is ended; None for no
            limit.

    Returns:
        A copy of the model with the new weights.

    Raises:
        ValueError: If an argument is not of this form.
        RuntimeError: If the process fails; the message has its last lines.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> def clustered(model, tfmot, x, y):
        ...     clustering = tfmot.clustering.keras
        ...     model = clustering.cluster_weights(model, 8, "kmeans++")
        ...     return clustering.strip_clustering(model)
        >>> kx.compression.run_tfmot(None, clustered)
        Traceback (most recent call last):
        ValueError: `model` must be a keras.Model. Received: model=None.
    """
    require_graph(model)
    source = _source(recipe)
    limit = None if timeout is None else number(timeout, "timeout", above=0)
    is_path = path is None or isinstance(path, str | Path)
    is_path = is_path and (path is None or str(path).endswith(".tflite"))
    require(is_path, "path", path, "a path that ends with .tflite, or None")
    interpreter = sys.executable if python is None else python
    is_file = isinstance(interpreter, str | Path) and Path(interpreter).is_file()
    require(is_file, "python", python, "the path of an interpreter, or None")
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder)
        model.save(job / "model.keras")
        for name, data in (("x", x), ("y", y)):
            _write(job, name, data)
        options = {
            "source": source,
            "name": recipe.__name__,
            "litert": path is not None,
        }
        (job / "job.json").write_text(json.dumps(options))
        say(f"run_tfmot: {recipe.__name__} runs in another process.")
        _run(str(interpreter), job, limit)
        made = keras.saving.load_model(job / "model.keras", compile=False)
        with np.load(job / "weights.npz") as weights:
            made.set_weights([weights[f"w{i}"] for i in range(len(made.weights))])
        if path is not None:
            Path(path).write_bytes((job / "model.tflite").read_bytes())
    return made


def _source(recipe: Function) -> str:
    is_function = inspect.isfunction(recipe) and recipe.__name__ != "<lambda>"
    require(is_function, "recipe", recipe, "a function that is written with `def`")
    names = list(recipe.__code__.co_freevars)
    hint = "It runs in another process. Write them inside, or give them as x and y."
    rule = f"a function that uses nothing from outside, not {names}"
    require(not names, "recipe", recipe.__name__, rule, hint)
    count = len(inspect.signature(recipe).parameters)
    require(count == 4, "recipe", recipe.__name__, "a function of (model, tfmot, x, y)")
    try:
        return textwrap.dedent(inspect.getsource(recipe))
    except OSError as error:
        message = f"The source of recipe {recipe.__name__} is not known: {error}."
        raise ValueError(f"`recipe` must be written in a file. {message}") from None


def _write(job: Path, name: str, data: Data) -> None:
    """Writes arrays, and in which structure they come."""
    if data is None:
        return
    # By these names `read` knows one array and a list from a dictionary.
    arrays = data if isinstance(data, dict) else {"_": data}
    if isinstance(data, list | tuple):
        arrays = {f"_{i}": array for i, array in enumerate(data)}
    valid = all(isinstance(key, str) for key in arrays)
    valid = valid and all(hasattr(array, "shape") for array in arrays.values())
    kept = {key: np.asarray(array) for key, array in arrays.items()} if valid else {}
    valid = bool(kept) and all(array.dtype != object for array in kept.values())
    require(valid, name, data, "an array, or a list or dictionary of arrays")
    np.savez(job / f"{name}.npz", **kept)


def _run(python: str, job: Path, timeout: float | None) -> None:
    # The other interpreter need not have this package installed.
    package = Path(__file__).parents[2]
    before = os.environ.get("PYTHONPATH")
    paths = [str(package), *([before] if before else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    # Importing tfmot sets it, for all that is started afterwards, too: with it
    # `tf.keras` is tf_keras.
    environment.pop("TF_USE_LEGACY_KERAS", None)
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    command = [python, "-m", "keras_ext.compression._tfmot_process", str(job)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"tfmot was ended after {timeout:g} seconds.") from None
    if done.returncode < 0:
        raise RuntimeError(f"tfmot was ended by signal {-done.returncode}.")
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-_MOST_LINES:]
        raise RuntimeError("tfmot has failed:\n" + "\n".join(lines))
