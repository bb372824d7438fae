"""What the public surface as a whole must look like."""

import ast
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import keras
import pytest

import keras_ext

ROOT = Path(__file__).parents[1]
MEMBERS = [getattr(keras_ext, name) for name in keras_ext.__all__]
FAMILIES = [keras_ext, *filter(inspect.ismodule, MEMBERS)]
FAMILIES.append(keras_ext.controllers.batch_size)
FAMILIES.append(keras_ext.optimizers.operators)
FAMILIES.append(keras_ext.tuner.spaces)
FAMILIES += [getattr(keras_ext.explain, name) for name in ("maps", "metrics", "plots")]
UNITS = [
    pytest.param(getattr(family, name), id=f"{family.__name__}.{name}")
    for family in FAMILIES
    for name in family.__all__
    if not inspect.ismodule(getattr(family, name))
]
# These are abstract: their subclasses are tested, and have examples.
ABSTRACT = {keras_ext.signals.GradientSignal, keras_ext.callbacks.GradientCallback}
every_unit = pytest.mark.parametrize("unit", UNITS)
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)

# Saved models contain these names: they may be added to, never changed.
SAVED_NAMES = {
    "keras_ext>ADMM",
    "keras_ext>ADOPT",
    "keras_ext>AdEMAMix",
    "keras_ext>AdaBelief",
    "keras_ext>AdaBound",
    "keras_ext>AdaGC",
    "keras_ext>AdamMini",
    "keras_ext>Adan",
    "keras_ext>AdaptiveClip",
    "keras_ext>AddNoise",
    "keras_ext>AttentionTransfer",
    "keras_ext>AutoClip",
    "keras_ext>BoxProjection",
    "keras_ext>COCOB",
    "keras_ext>CardinalityProjection",
    "keras_ext>Cautious",
    "keras_ext>Centralize",
    "keras_ext>ClipByGlobalNorm",
    "keras_ext>ClipByNorm",
    "keras_ext>ClipByValue",
    "keras_ext>ClipUpdateRMS",
    "keras_ext>ConcreteDropout",
    "keras_ext>CoordinateClip",
    "keras_ext>CosineRestartsWithWarmup",
    "keras_ext>CyclicalLearningRate",
    "keras_ext>DAdaptAdam",
    "keras_ext>DecoupledDistillation",
    "keras_ext>DelayGradients",
    "keras_ext>DoG",
    "keras_ext>DoWG",
    "keras_ext>DropBlock1D",
    "keras_ext>DropBlock2D",
    "keras_ext>DropBlock3D",
    "keras_ext>DropPath",
    "keras_ext>EarlyExit",
    "keras_ext>ElasticNetShrinkage",
    "keras_ext>Freeze",
    "keras_ext>GradientPipeline",
    "keras_ext>GroupDropout",
    "keras_ext>GroupLasso",
    "keras_ext>GroupShrinkage",
    "keras_ext>InverseSquareRoot",
    "keras_ext>L1",
    "keras_ext>L1L2",
    "keras_ext>L1Shrinkage",
    "keras_ext>L2",
    "keras_ext>LAMB",
    "keras_ext>LARS",
    "keras_ext>LDoG",
    "keras_ext>LayerwiseScale",
    "keras_ext>LiveDropout",
    "keras_ext>Lookahead",
    "keras_ext>Mechanic",
    "keras_ext>Momo",
    "keras_ext>MuonConv",
    "keras_ext>NormalizeByLayer",
    "keras_ext>NovoGrad",
    "keras_ext>NuclearShrinkage",
    "keras_ext>OneCycle",
    "keras_ext>OrthogonalityPenalty",
    "keras_ext>Prodigy",
    "keras_ext>ProjectedFeatures",
    "keras_ext>Proximal",
    "keras_ext>QuantizationRange",
    "keras_ext>QuantizedConv1D",
    "keras_ext>QuantizedConv1DTranspose",
    "keras_ext>QuantizedConv2D",
    "keras_ext>QuantizedConv2DTranspose",
    "keras_ext>QuantizedDense",
    "keras_ext>QuantizedDepthwiseConv1D",
    "keras_ext>QuantizedDepthwiseConv2D",
    "keras_ext>QuantizedEinsumDense",
    "keras_ext>QuantizedEmbedding",
    "keras_ext>QuantizedLayerNormalization",
    "keras_ext>QuantizedNormalization",
    "keras_ext>QuantizedSeparableConv1D",
    "keras_ext>QuantizedSeparableConv2D",
    "keras_ext>RAdam",
    "keras_ext>Rex",
    "keras_ext>SGDW",
    "keras_ext>SOAP",
    "keras_ext>ScheduleFree",
    "keras_ext>ScheduledDropout",
    "keras_ext>Sequential",
    "keras_ext>Shampoo",
    "keras_ext>ShareOfSchedule",
    "keras_ext>SimplexProjection",
    "keras_ext>SkipNonFinite",
    "keras_ext>SkipSpikes",
    "keras_ext>SoftTargets",
    "keras_ext>Sophia",
    "keras_ext>SparseGroupLasso",
    "keras_ext>SparseGroupShrinkage",
    "keras_ext>SparseVariationalDense",
    "keras_ext>Standardize",
    "keras_ext>Standout",
    "keras_ext>TrustRatio",
    "keras_ext>UniformOut",
    "keras_ext>VariationalDropout",
    "keras_ext>Warmup",
    "keras_ext>WarmupStableDecay",
    "keras_ext>Yogi",
    "keras_ext>ZClip",
}


def test_saved_names_are_stable():
    registered = keras.saving.get_custom_objects()
    assert {n for n in registered if n.startswith("keras_ext>")} == SAVED_NAMES


@every_family
def test_exports_are_sorted(family):
    assert family.__all__ == sorted(family.__all__)


@pytest.mark.parametrize("package", [keras_ext, keras_ext.tuner])
def test_a_notebook_completes_what_is_exported(package):
    found = {name for name in dir(package) if not name.startswith("_")}
    assert found == set(package.__all__)


# What measures or decides for the house alone, and is exported by no family.
INSIDE = {
    "controllers/batch_size/_adascale_gain.py",
    "controllers/continuous/_overfit_guards.py",
    "controllers/stopping/_falling_by_chance.py",
    "controllers/stopping/_learning_curve.py",
    "optimizers/wrappers/_applied_operator.py",
    "optimizers/_flat_objective.py",
    "diagnostics/_learning_rate_rules.py",
    "diagnostics/_left_as_it_was.py",
    "signals/losses/_slope_probe.py",
    "signals/machine/_peak_memory.py",
    "training/_attached_step.py",
    "training/_drawn_loss.py",
    "training/_perturbed_weights.py",
    "uncertainty/_moments.py",
}
# These have rooms for the house alone.
WITH_ROOMS = {"callbacks", "compression", "data", "distribute", "explain", "keras_ext"}
WITH_ROOMS |= {"tuner", "spaces"}
WITH_ROOMS |= {"layers", "maps", "schedules"}


def test_a_class_that_a_user_may_write_a_subclass_of_or_use_is_exported():
    """Every module of a family defines something that the family exports."""
    package = Path(keras_ext.__file__).parent
    hidden = set()
    for family in FAMILIES:
        names = set(family.__all__)
        if family is keras_ext.controllers:
            names |= set(keras_ext.controllers.batch_size.__all__)
        if family is keras_ext.optimizers:
            names |= set(keras_ext.optimizers.operators.__all__)
        if family.__name__.rpartition(".")[2] in WITH_ROOMS:
            continue
        for path in Path(family.__path__[0]).rglob("_*.py"):
            kinds = (ast.ClassDef, ast.FunctionDef)
            body = ast.parse(path.read_text()).body
            defined = {n.name for n in body if isinstance(n, kinds)}
            if path.name != "__init__.py" and not defined & names:
                hidden.add(path.relative_to(package).as_posix())
    assert hidden == INSIDE


@every_unit
def test_has_a_test_file(unit):
    folders = unit.__module__.split(".")[1:]
    folders[-1] = f"test{folders[-1]}.py"
    assert unit in ABSTRACT or Path(ROOT, "tests", *folders).is_file()


def is_protocol(unit):
    return typing.Protocol in getattr(unit, "__bases__", ())


@every_unit
def test_docstring_describes_every_argument_with_its_default(unit):
    doc = inspect.getdoc(unit)
    signature = inspect.signature(unit)
    described = _argument_section(doc)
    for name, parameter in signature.parameters.items():
        # A protocol takes whatever its subclasses take.
        if parameter.kind is parameter.VAR_KEYWORD or is_protocol(unit):
            continue
        assert name in described, f"`{name}` is not described"
        promised = re.search(r"Defaults to `([^`]*)`", described[name])
        if parameter.default in (parameter.empty, None):
            assert not promised
            known = parameter.default is parameter.empty or "None" in described[name]
            assert known, f"what None means for `{name}` is not described"
        else:
            assert promised, f"the default of `{name}` is not described"
            assert ast.literal_eval(promised[1]) == parameter.default


@every_unit
def test_docstring_has_an_example(unit):
    example = re.search(r"^Examples:\n    >>> ", inspect.getdoc(unit), re.MULTILINE)
    assert unit in ABSTRACT or example


def _argument_section(doc):
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.MULTILINE | re.DOTALL)
    if not section:
        return {}
    entries = re.split(r"^    (?=\S)", section[1], flags=re.MULTILINE)[1:]
    pairs = (entry.split(":", 1) for entry in entries)
    return {name.lstrip("*"): " ".join(text.split()) for name, text in pairs}


FRESH_IMPORT = """
import os, sys
calls = 0
def count(frame, event, argument):
    global calls
    calls += 1
def pages():
    return int(open("/proc/self/statm").read().split()[1])  # what is in memory
a = pages()
import keras
b, before, environment = pages(), set(sys.modules), dict(os.environ)
sys.setprofile(count)
import keras_ext
sys.setprofile(None)
assert dict(os.environ) == environment
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(calls, (pages() - b) / (b - a), keras.Model.fit.__code__.co_filename)
print(*sorted(new))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory from /proc")
def test_import_costs_next_to_nothing_and_brings_in_nothing():
    """In a fresh process, after `import keras`; how fast it is depends on the day."""
    output = subprocess.run(
        [sys.executable, "-c", FRESH_IMPORT],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split()
    calls, memory_ratio, fit, *modules = output
    assert set(modules) - sys.stdlib_module_names == {"keras_ext"}
    # Of functions, and returns from them: `import keras` makes more than ten million.
    assert 10_000 < int(calls) < 1_000_000
    assert float(memory_ratio) < 0.1
    # The first callback of all may be made within the call of `fit` that it is for.
    assert fit.endswith("keras_ext/_keras/_model_runs.py")


def test_version_is_in_one_place():
    from importlib.metadata import version

    assert version("keras-ext") == keras_ext.__version__
    assert keras_ext.__version__ not in (ROOT / "pyproject.toml").read_text()
