"""What the scripts in `benchmarks/` share; the scripts themselves take too long."""

import ast
import gzip
import importlib
import inspect
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import keras_ext
from benchmarks import _data, _intervals

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(Path(_data.__file__).parent.rglob("*.py"))
ALL_SCRIPTS = [
    path
    for folder in ("benchmarks", "docs/scripts", "examples", "tests/fixtures")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def test_no_script_hides_a_module_of_python():
    """A script's folder comes first where modules are looked for."""
    # `compression` is new in Python 3.14.
    of_python = {*sys.stdlib_module_names, "compression"}
    assert len(ALL_SCRIPTS) > 60
    names = {path.stem for path in ALL_SCRIPTS} - {"__init__"}
    assert names & of_python == set()


def test_intervals_are_those_of_scipy():
    values = np.random.default_rng(0).normal(2.0, 3.0, 12).tolist()
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    half = _intervals.half_interval(values)
    assert 2 * half == pytest.approx(interval.high - interval.low)
    mean = (interval.high + interval.low) / 2
    assert _intervals.mean_and_interval(values, 3) == f"{mean:.3f} ± {half:.3f}"


def test_one_value_has_no_interval():
    assert math.isnan(_intervals.half_interval([1.0]))
    assert _intervals.mean_and_interval([1.0], 1) == "1.0 ± nan"


def test_regret_is_in_percent_of_the_reference():
    found, half = _intervals.regret([1.1, 3.3], [1.0, 3.0])
    assert found == pytest.approx(10.0)  # 0.2 of 2, in the mean
    assert half == pytest.approx(50 * _intervals.half_interval([0.1, 0.3]))


def test_ratios_go_turn_by_turn():
    times, base = [2.0, 9.0, 8.0, 5.0, 6.0], [2.0, 3.0, 2.0, 1.0, 3.0]
    assert _intervals.ratios(times, base) == (3.0, 2.0, 4.0)  # of 1, 3, 4, 5, 2


def test_idx_files_are_read(tmp_path):
    images = np.arange(2 * 28 * 28, dtype="uint8").reshape(2, 28, 28)
    for name, values in ("images-idx3", images), ("labels-idx1", np.uint8([7, 2])):
        header = bytes([0, 0, 8, values.ndim])
        header += np.array(values.shape, ">u4").tobytes()
        path = tmp_path / f"mnist10k-{name}-ubyte.gz"
        path.write_bytes(gzip.compress(header + values.tobytes()))
    x, y = _data.mnist10k(tmp_path)
    np.testing.assert_allclose(255 * x, images.reshape(2, -1), rtol=1e-6)
    assert y.tolist() == [7, 2]


def test_a_row_is_in_one_part_only():
    x, y = np.arange(600)[:, None], np.arange(600) % 3
    for parts in (
        _data.train_validation_test(x, y),
        _data.train_control_test(x, y, rows=100, seed=1),
    ):
        rows = np.concatenate([part[:, 0] for part, _ in parts])
        assert sorted(rows) == list(range(600))
        for part, labels in parts:
            np.testing.assert_array_equal(part[:, 0] % 3, labels)


def test_no_function_stands_in_two_scripts():
    places = {}
    for path in SCRIPTS:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                text = ast.unparse([node.args, *node.body])
                places.setdefault(text, []).append(f"{path.name}:{node.name}")
    assert [names for names in places.values() if len(names) > 1] == []


def bound_to_the_package(tree):
    """From names of a script to the modules and units of the package they stand for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "keras_ext":
                    names[alias.asname or alias.name] = keras_ext
        elif isinstance(node, ast.ImportFrom) and (
            node.module.partition(".")[0] == "keras_ext"
        ):
            module = importlib.import_module(node.module)
            for alias in node.names:
                names[alias.asname or alias.name] = getattr(module, alias.name)
    return names


def missing(tree):
    """What a script takes from modules of the package, or gives to units, in vain."""
    names, found = bound_to_the_package(tree), []

    def resolved(node):
        if isinstance(node, ast.Name):
            return names.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        owner = resolved(node.value)
        if not inspect.ismodule(owner):
            return None
        if not hasattr(owner, node.attr):
            found.append(f"{owner.__name__}.{node.attr}")
        return getattr(owner, node.attr, None)

    for node in ast.walk(tree):
        # `policies = kx.controllers.batch_size`
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.setdefault(node.targets[0].id, resolved(node.value))
    for node in ast.walk(tree):
        resolved(node)
        if isinstance(node, ast.Call) and callable(unit := resolved(node.func)):
            found += unknown_arguments(unit, node)
    return sorted(set(found))


def unknown_arguments(unit, call):
    known = inspect.signature(unit).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return []
    given = [word.arg for word in call.keywords if word.arg is not None]
    return [f"{unit.__name__}({name}=)" for name in given if name not in known]


@pytest.mark.parametrize("path", ALL_SCRIPTS, ids=lambda path: path.stem)
def test_what_a_script_asks_of_the_package_is_there(path):
    assert missing(ast.parse(path.read_text())) == []
