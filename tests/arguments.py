"""Valid arguments of every public class and function, and what is tried in their place.

`VALID` has what has to be given; what has a default keeps it. `NONSENSE` is tried in
the place of each, one at a time. The functions that run a model are stopped when they
ask it: what is tested is that they have refused before.
"""

import functools
import math
import numbers
import tempfile
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_ext as kx

NONSENSE = {
    "None": None,
    "True": True,
    "text False": "False",
    "nonsense": "nonsense",
    "no text": "",
    "minus one": -1,
    "zero": 0,
    "one": 1,
    "one and a half": 1.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "huge": 10**30,
    "complex": 1j,
    "list": [],
    "list of None": [None],
    "tuple": (),
    "dictionary": {},
    "odd dictionary": {1: 2},
    "set": {1, 2},
    "object": object(),
    "bytes": b"nonsense",
    "class": int,
    "function": lambda: None,
    "generator": (i for i in ()),
    "no axes": np.array(2.5),
    "no rows": np.zeros((0, 4), "float32"),
    "vector": np.array([1, 2]),
    "matrix": np.full((2, 3), np.nan),
    "texts": np.array(["a", "b"]),
    "tensor": tf.constant([1.0, 2.0]),
}


# What the default suite tries: one of each kind.
OF_EACH_KIND = (
    "None",
    "True",
    "nonsense",
    "minus one",
    "NaN",
    "list of None",
    "odd dictionary",
    "object",
    "function",
    "vector",
    "tensor",
)

# What is no nonsense to arguments that take anything, or more than their type says.
_NOTHING = ("None", "list", "list of None", "tuple", "dictionary")
_MEASURED = ("NaN", "infinity")
_BY_NAME = ("None", "class", "function")  # a class is a function, too
ALSO_FIT = {
    "verbose": ("True",),  # as in Keras
    "perturbations": ("None",),
    "images": ("None",),
    **dict.fromkeys(
        [
            (f"callbacks.{name}", data)
            for name in ("AdaptiveDropout", "AdaptiveRegularization")
            for data in ("train_data", "validation_data", "controller")
        ],
        ("None",),
    ),
    ("callbacks.DynamicBatchSize", "data"): ("None",),
    ("callbacks.StochasticWeightAveraging", "train_data"): ("None",),
    ("callbacks.RecalibrateBatchNorm", "train_data"): ("None",),
    ("callbacks.DropoutBatchNormBalance", "train_data"): ("None",),
    ("callbacks.GradientDisparityEarlyStopping", "train_data"): ("None",),
    ("callbacks.LabelWaveEarlyStopping", "train_data"): ("None",),
    ("callbacks.GradientMonitor", "path"): ("None",),
    ("callbacks.BanditLearningRate", "train_data"): ("None",),
    ("callbacks.ReinforcedLearningRate", "train_data"): ("None",),
    ("callbacks.LearningRateFinder", "train_data"): ("None",),
    ("callbacks.LearningRateMultiplier", "controller"): ("None",),
    ("callbacks.GradientMonitor", "tensorboard"): (
        "None",
        "text False",
        "nonsense",
        "no text",
    ),
    **{
        (f"compression.{name}", argument): ("vector",)
        for name in ("Prune", "prune")
        for argument in ("m_by_n", "block_size")
    },
    ("compression.Prune", "validation_data"): ("None",),
    ("compression.prune", "x"): ("None",),
    ("compression.ProjectedFeatures", "loss"): ("class", "function"),
    ("compression.size_report", "x"): ("None", "matrix"),
    ("compression.size_report", "y"): ("None",),
    ("compression.to_litert", "representative_data"): ("None",),
    ("controllers.Bandit", "arms"): ("text False", "nonsense", "bytes"),
    ("data.DynamicBatches", "x"): _NOTHING,
    ("data.DynamicBatches", "y"): _NOTHING,
    ("data.DynamicBatches", "sample_weight"): _NOTHING,
    ("diagnostics.find_batch_size", "sizes"): ("vector",),
    **dict.fromkeys(
        [("explain.ExplainDuringTraining", name) for name in ("x", "background")],
        ("odd dictionary", "vector", "matrix", "texts", "tensor"),
    ),
    ("optimizers.fit_lbfgs", "validation_data"): ("None",),
    ("optimizers.fit_lbfgs", "sample_weight"): ("None",),
    ("explain.explain_words", "output_names"): ("list of None",),
    ("explain.explain_words", "outputs"): ("None", "minus one", "zero"),
    ("explain.explain_words", "texts"): ("texts",),
    ("explain.plots.image_grid", "titles"): ("vector", "matrix", "texts", "tensor"),
    ("explain.plots.text_html", "explanation"): ("matrix",),
    ("explain.plots.text_html", "output"): ("None", "no text", "zero"),
    ("explain.plots.text_html", "tokens"): ("matrix",),
    ("explain.plots.sequence", "explanation"): ("matrix",),
    ("explain.plots.sequence", "output"): ("None", "no text", "zero"),
    ("explain.save_report", "path"): ("nonsense", "text False"),
    ("layers.DropBlock1D", "block_size"): ("one",),
    ("layers.DropBlock2D", "block_size"): ("one",),
    ("layers.DropBlock3D", "block_size"): ("one",),
    ("layers.GroupDropout", "groups"): ("one",),
    ("layers.LiveDropout", "noise_shape"): _NOTHING[:4],
    ("layers.ScheduledDropout", "noise_shape"): _NOTHING[:4],
    ("layers.Standout", "activation"): _BY_NAME,
    ("layers.SparseVariationalDense", "activation"): _BY_NAME,
    ("layers.SparseVariationalDense", "kernel_initializer"): (
        *_BY_NAME,
        "no axes",
        "no rows",
        "vector",
        "matrix",
        "texts",
        "tensor",
    ),
    **{
        ("controllers.batch_size.Measured", name): _MEASURED
        for name in (
            "max_batch_size",
            "signal",
            "noise",
            "projection",
            "projection_variance",
            "gsnr",
            "learning_rate",
        )
    },
}


class Asked(BaseException):
    """The model was asked: the arguments have passed."""


def ask(*args, **kwargs):
    """Stands in for what a model does."""
    raise Asked


@functools.cache
def _x():
    return np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")


@functools.cache
def _model():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(2, 3, name="conv"),
            keras.layers.Dropout(0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ],
        name="model",
    )
    model.compile("sgd", "mse")
    return model


@functools.cache
def _student():
    model = keras.models.clone_model(_model())
    model.compile("sgd", "mse")
    return model


@functools.cache
def _explained():
    explainer = kx.explain.Explainer(_model(), _x(), method="expected_gradients")
    return {"explainer": explainer, "explanation": explainer(_x()[:2], budget=8)}


@functools.cache
def _recorded():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    monitor = kx.callbacks.GradientMonitor(every=1)
    model.fit(np.ones((4, 2)), np.ones((4, 1)), callbacks=[monitor], verbose=0)
    return monitor


@functools.cache
def _file():
    path = Path(tempfile.mkdtemp(), "model.tflite")
    kx.compression.to_litert(_model(), path)
    return path


def prepare():
    """Makes, once, what takes a model that answers."""
    _explained(), _recorded(), _file()


def _explanation():
    return {"explanation": _explained()["explanation"]}


def _with_operator():
    shrink = kx.optimizers.operators.L1Shrinkage()
    return {"optimizer": keras.optimizers.SGD(0.1), "operator": shrink}


def _batches():
    return kx.data.DynamicBatches(_x(), batch_size=2, sizes=[2, 4])


def _data():
    return {"train_data": (_x(), _x()), "validation_data": (_x(), _x())}


def _rows():
    return {"model": _model(), "x": _x()}


def _recipe(model, tfmot, x, y):
    """A function for another process, which there is none of here."""
    return model


def _searched(hp):
    """A model, of which a tuner asks what is searched."""
    hp.Float("a", 0.0, 1.0)
    return _model()


def _of_explanation():
    return {**_explained(), "x": _x()[:2]}


VALID = {
    "HyperVariable": lambda: {"value": 1.0, "name": "a"},
    "detach": lambda: {"model": _model()},
    "hyper_variables": lambda: {"model": _model()},
    "make_live": lambda: {"model": _model()},
    "callbacks.AdaptiveDropout": _data,
    "callbacks.AdaptiveRegularization": _data,
    "callbacks.BatchSizeFinder": lambda: {"data": _batches()},
    "callbacks.DropoutBatchNormBalance": lambda: {"train_data": (_x(), _x())},
    "callbacks.DynamicBatchSize": lambda: {"policy": [(1, 2)], "batch_size": 8},
    "callbacks.GradientDisparityEarlyStopping": lambda: {"train_data": (_x(), _x())},
    "callbacks.GradualUnfreezing": lambda: {"schedule": [(0, "a")]},
    "callbacks.HyperparameterScheduler": lambda: {"schedules": {"a": float}},
    "callbacks.LabelWaveEarlyStopping": lambda: {"train_data": (_x(), _x())},
    "callbacks.MomentumSchedule": lambda: {"schedule": kx.schedules.Rex(0.9, 10)},
    "callbacks.OneCycle": lambda: {"max_learning_rate": 0.1},
    "callbacks.RecalibrateBatchNorm": lambda: {"train_data": (_x(), _x())},
    "callbacks.SnapshotEnsemble": lambda: {"epochs_per_cycle": 2},
    "callbacks.StochasticWeightAveraging": lambda: {"start_epoch": 1},
    "callbacks.StopWhen": lambda: {
        "rule": "any",
        "callbacks": [keras.callbacks.EarlyStopping()],
    },
    "compression.ConstantSparsity": lambda: {"target_sparsity": 0.5, "begin_step": 0},
    "compression.PolynomialDecay": lambda: {
        "initial_sparsity": 0.0,
        "final_sparsity": 0.5,
        "begin_step": 0,
        "end_step": 100,
    },
    "compression.Prune": lambda: {
        "schedule": kx.compression.ConstantSparsity(0.5, begin_step=0)
    },
    "compression.PruningReport": lambda: {"rows": []},
    "compression.SparsitySchedule": lambda: {"begin_step": 0, "end_step": -1},
    "compression.LiteRTFile": lambda: {"path": _file()},
    "compression.RigL": lambda: {"sparsity": 0.5, "end_step": 100},
    "compression.SizeReport": lambda: {
        "num_parameters": 1,
        "num_zeros": 0,
        "rows": [],
    },
    "compression.cluster": lambda: {"model": _model(), "k": 4},
    "compression.compress": lambda: {
        "model": _student(),
        "path": "model.tflite",
        "x": _x(),
        "y": np.ones((8, 3)),
    },
    "compression.distill": lambda: {
        "teacher": _model(),
        "student": _student(),
        "x": _x(),
    },
    **{
        f"compression.{name}": lambda: {
            "teacher_layer_name": "conv",
            "student_layer_name": "conv",
        }
        for name in ("AttentionTransfer", "ProjectedFeatures")
    },
    "compression.EarlyExit": lambda: {"model": _model(), "layers": ["conv"]},
    "compression.early_exit": lambda: {"model": _model(), "layers": ["conv"]},
    "compression.low_rank": lambda: {"model": _model()},
    "compression.prune": lambda: {"model": _model(), "sparsity": 0.5},
    "compression.quantize_aware": lambda: {"model": _model()},
    "compression.size_report": lambda: {"model": _model()},
    "compression.strip_quantization": lambda: {
        "quantized": _model(),
        "model": _model(),
    },
    "compression.run_tfmot": lambda: {
        "model": _model(),
        "recipe": _recipe,
        "timeout": 0.01,
    },
    "compression.to_tf_keras": lambda: {"model": _model()},
    "compression.from_tf_keras": lambda: {"source": _model(), "into": _model()},
    "compression.to_litert": lambda: {"model": _model(), "path": "model.tflite"},
    "controllers.Bandit": lambda: {"arms": [1, 2]},
    "controllers.PI": lambda: {"target": 0.5},
    "controllers.PopulationBased": lambda: {"settings": [{"a": 1.0}, {"a": 2.0}]},
    "data.DynamicBatches": lambda: {"x": _x(), "y": _x()},
    "diagnostics.diagnose": lambda: {"history": _recorded()},
    "diagnostics.find_batch_size": lambda: {"model": _model(), "x": _batches()},
    "diagnostics.float_operations": lambda: {"model": _model()},
    "diagnostics.find_learning_rate": lambda: {"model": _model(), "x": _batches()},
    "distribute.shard": lambda: {
        "dataset": tf.data.Dataset.from_tensor_slices(_x()).batch(2)
    },
    "explain.ExplainDuringTraining": lambda: {"x": _x(), "background": _x()},
    "explain.Explainer": lambda: {"model": _model(), "background": _x()},
    "explain.split_at": lambda: {"model": _model(), "layer": "conv"},
    "explain.as_function": lambda: {"model": _model(), "example": _x()},
    "explain.explain_words": lambda: {
        "model": lambda texts: np.zeros(len(texts)),
        "texts": ["a text", "another"],
    },
    "explain.save_report": lambda: {**_explanation(), "path": "report.html"},
    "gradients.ClipByValue": lambda: {"max_value": 1.0},
    "gradients.LayerwiseScale": lambda: {"factors": {"kernel": 0.5}},
    "layers.ConcreteDropout": lambda: {"layer": keras.layers.Dense(2)},
    "layers.DropPath": lambda: {"rate": 0.1},
    "layers.GroupDropout": lambda: {"rate": 0.1, "groups": 2},
    "layers.LiveDropout": lambda: {"rate": 0.1},
    "layers.ScheduledDropout": lambda: {"rate": 0.1, "total_steps": 10},
    "layers.SparseVariationalDense": lambda: {"units": 2, "kl_weight": 0.1},
    "layers.VariationalDropout": lambda: {"kl_weight": 0.1},
    **{
        f"optimizers.{name}": lambda: {"optimizer": keras.optimizers.SGD(0.1)}
        for name in ("Cautious", "GradientPipeline", "Lookahead", "Mechanic")
    },
    "optimizers.ADMM": _with_operator,
    "optimizers.Proximal": _with_operator,
    "optimizers.ScheduleFree": lambda: {"optimizer": keras.optimizers.SGD(0.1)},
    "optimizers.fit_lbfgs": lambda: {**_rows(), "y": np.zeros((len(_x()), 3))},
    "optimizers.operators.BoxProjection": lambda: {"low": 0.0, "high": 1.0},
    "optimizers.OptimizerSummary": lambda: {
        "steps": [],
        "slots": {},
        "sizes": {},
        "other_bytes": 0,
    },
    "optimizers.get": lambda: {"identifier": "sgd"},
    "optimizers.summary": lambda: {"model": _model()},
    "optimizers.unit_axes": lambda: {"model": _model()},
    "regularizers.DepthwiseStrengths": lambda: {"first": 0.1, "last": 0.2},
    "regularizers.attach": lambda: {"model": _model(), "regularizer": "l2"},
    "schedules.CosineRestartsWithWarmup": lambda: {
        "initial_learning_rate": 0.1,
        "first_decay_steps": 10,
    },
    "schedules.CyclicalLearningRate": lambda: {
        "initial_learning_rate": 0.1,
        "maximal_learning_rate": 0.2,
        "step_size": 3,
    },
    "schedules.InverseSquareRoot": lambda: {"learning_rate": 0.1, "warmup_steps": 5},
    "schedules.OneCycle": lambda: {"max_learning_rate": 0.1, "total_steps": 10},
    "schedules.Rex": lambda: {"max_learning_rate": 0.1, "total_steps": 10},
    "schedules.Sequential": lambda: {"schedules": [0.1, 0.2], "boundaries": [5]},
    "schedules.Warmup": lambda: {"inner": 0.1, "steps": 5},
    "schedules.WarmupStableDecay": lambda: {"learning_rate": 0.1, "total_steps": 10},
    "plot_history": lambda: {"history": {"loss": [1.0, 0.5]}},
    "schedules.plot": lambda: {
        "schedules": kx.schedules.Rex(0.1, total_steps=10),
        "steps": 10,
    },
    "signals.ClipStatistics": lambda: {"transform": kx.gradients.ClipByNorm()},
    "signals.LossProbe": lambda: {"data": (_x(), _x())},
    **dict.fromkeys(
        [
            f"tuner.{name}"
            for name in (
                "BOHB",
                "BayesianOptimization",
                "Evolution",
                "GridSearch",
                "Hyperband",
                "PopulationBasedTraining",
                "RandomSearch",
            )
        ],
        lambda: {"hypermodel": _searched, "objective": "loss"},
    ),
    "tuner.Cost": lambda: {"kind": "latency"},
    "tuner.RayTrials": lambda: {"hypermodel": _searched, "objective": "loss"},
    "tuner.recommend": lambda: {
        "num_rows": 100,
        "num_features": 4,
        "num_classes": 2,
        "depth": 1,
    },
    "tuner.SpaceModel": lambda: {
        "network": kx.tuner.spaces.mlp((2,), 1),
        "optimization": kx.tuner.spaces.optimization(total_steps=9),
    },
    **{
        f"tuner.spaces.{name}": lambda shape=shape: {"input_shape": shape, "outputs": 2}
        for name, shape in (
            ("convnet", (8, 8, 1)),
            ("mlp", (4,)),
            ("recurrent", (4, 2)),
            ("transformer", (4, 2)),
        )
    },
    "tuner.spaces.training": lambda: {"num_rows": 10},
    "tuner.Tuner": lambda: {
        "oracle": kx.tuner.OptunaOracle("loss"),
        "hypermodel": _searched,
    },
    "uncertainty.mc_predict": _rows,
    "controllers.batch_size.Interleaved": lambda: {"cycle": [(1, 2)]},
    "controllers.batch_size.Measured": lambda: {
        "batch_size": 8,
        "initial_batch_size": 8,
    },
    "controllers.batch_size.Staged": lambda: {"stages": [(0, 2)]},
    "explain.metrics.Curve": lambda: {
        "fractions": np.linspace(0, 1, 3),
        "outputs": np.ones((2, 3)),
    },
    "explain.metrics.agreement": lambda: {
        "first": _explained()["explanation"],
        "second": _explained()["explanation"],
    },
    **{f"explain.maps.{name}": _rows for name in kx.explain.maps.__all__},
    "explain.plots.image_grid": _explanation,
    "explain.plots.sequence": lambda: {"explanation": np.ones((2, 4, 3))},
    "explain.plots.text_html": lambda: {
        "explanation": np.ones((2, 3)),
        "tokens": [["a", "b", "c"]] * 2,
    },
    **{
        f"explain.metrics.{name}": _of_explanation
        for name in kx.explain.metrics.__all__
        if name not in ("Curve", "agreement")
    },
}


def is_judged(hint) -> bool:
    """Whether the type of an argument says enough to refuse a value before the model.

    Of others, such as `outputs`, only the model's answer tells what is valid.
    """
    parts = typing.get_args(hint) or (hint,)
    return set(parts) <= {bool, int, float, str, type(None)}


def fits(hint, value) -> bool:
    """Whether a value is of the type that an argument is annotated with.

    Of numbers none but the finite ones, and no truth value for a number.
    """
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(fits(part, value) for part in typing.get_args(hint))
    if hint in (None, type(None)):
        return value is None
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    origin = typing.get_origin(hint) or hint
    if origin in (Callable, Mapping):
        return isinstance(value, origin)
    if origin is Sequence:
        (part,) = typing.get_args(hint) or (object,)
        return isinstance(value, list | tuple) and all(fits(part, v) for v in value)
    return hint is not typing.Any and isinstance(value, origin)
