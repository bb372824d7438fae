"""No attribute that holds a HyperVariable lies, in any class of the library."""

import ast
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext import HyperVariable, LiveAttributes
from tests.cases import LAYERS, TRANSFORMS

PACKAGE = Path(kx.__file__).parent

HOLDERS = {
    **{
        f"{name}-{i}": case.make
        for cases in (TRANSFORMS, LAYERS)
        for name, some in cases.items()
        for i, case in enumerate(some)
    },
    "L1": kx.regularizers.L1,
    "L2": kx.regularizers.L2,
    "L1L2": kx.regularizers.L1L2,
    "GroupLasso": kx.regularizers.GroupLasso,
    "SparseGroupLasso": kx.regularizers.SparseGroupLasso,
    "OrthogonalityPenalty": kx.regularizers.OrthogonalityPenalty,
    "GradientNoiseScale": kx.signals.GradientNoiseScale,
    "GradientProjection": kx.signals.GradientProjection,
    "LocalSGD": kx.callbacks.LocalSGD,
    "PostLocalSGD": kx.callbacks.PostLocalSGD,
    "ElasticAveraging": kx.callbacks.ElasticAveraging,
    "GradientPipeline": lambda: kx.optimizers.GradientPipeline(
        "sgd",
        accumulation_steps=HyperVariable(2, "steps", bounds=(1, 64), dtype="int32"),
    ),
}


def held(holder):
    return {n: h for n, h in vars(holder).items() if isinstance(h, HyperVariable)}


def another(hyper):
    """A value within the bounds that is not the present one."""
    low, high = hyper.bounds
    now = float(hyper)
    step = 1.0 if hyper.dtype == "int32" else 0.125
    return now + step if high is None or now + step <= high else now - step


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("name", HOLDERS)
def test_an_assignment_goes_to_the_hyper_variable(name, built):
    holder = HOLDERS[name]()
    for attribute, hyper in held(holder).items():
        if built:
            hyper.build()
        value = another(hyper)
        setattr(holder, attribute, value)
        assert vars(holder)[attribute] is hyper
        assert float(hyper) == pytest.approx(value)
        assert hyper in holder.hyper_variables
        assert holder.live_config()[attribute] == pytest.approx(value)
        if hasattr(holder, "get_config") and attribute in holder.get_config():
            config = holder.get_config()[attribute]
            config = config["value"] if isinstance(config, dict) else config
            assert config == pytest.approx(value)
        with pytest.raises(ValueError, match=hyper.name):
            setattr(holder, attribute, "much")


def test_every_class_that_makes_one_is_a_holder():
    """By the syntax tree: who writes `self.name = HyperVariable(...)`, or a maker."""
    makers = {"HyperVariable", "_factor", "_penalty", "steps_between", "live"}
    makers |= {"live_factor", "_as_hyper_variable"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and _makes_one(node, makers):
                module = ".".join(("keras_ext", *path.relative_to(PACKAGE).parts))
                module = module.removesuffix(".py")
                made = getattr(inspect.importlib.import_module(module), node.name)
                assert issubclass(made, LiveAttributes), f"{module}.{node.name}"


def _makes_one(node, makers):
    return any(
        isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Attribute)
        and not statement.targets[0].attr.startswith("_")
        and isinstance(statement.value, ast.Call)
        and getattr(statement.value.func, "id", None) in makers
        for statement in ast.walk(node)
    )


def test_a_variable_in_use_is_not_replaced():
    layer = kx.layers.LiveDropout(0.1)
    new = HyperVariable(0.2, "rate")
    layer.rate = new  # nobody reads the old one yet
    assert layer.rate is new
    new.build()
    with pytest.raises(ValueError, match="`rate` must be a number"):
        layer.rate = HyperVariable(0.3, "rate")


class SetAfterOneEpoch(keras.callbacks.Callback):
    def __init__(self, set_value):
        super().__init__()
        self.set_value = set_value

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.set_value()


@pytest.mark.parametrize("how", ["nothing", "attribute", "assign"])
def test_a_running_fit_follows_the_attribute_of_a_transform(how):
    """A clipped gradient moves the weight by `clipping` times its own length."""
    clip = kx.gradients.AdaptiveClip(0.01)
    optimizer = kx.optimizers.GradientPipeline(keras.optimizers.SGD(1.0), [clip])
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), dense])
    model.compile(optimizer, "mse")
    set_value = {
        "nothing": lambda: None,
        "attribute": lambda: setattr(clip, "clipping", 0.5),
        "assign": lambda: clip.clipping.assign(0.5),
    }[how]
    x = np.ones((1, 1), "float32")
    change = SetAfterOneEpoch(set_value)
    model.fit(x, 1e6 * x, epochs=3, callbacks=[change], verbose=0)
    factor = 1.01 if how == "nothing" else 1.5
    expected = 1.01 * factor * factor
    np.testing.assert_allclose(model.get_weights()[0].item(), expected, rtol=1e-5)
    assert clip.get_config()["clipping"] == (0.01 if how == "nothing" else 0.5)
    assert "optimizer/adaptive_clip/clipping" in kx.hyper_variables(model)
