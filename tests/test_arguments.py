"""Every argument of every public class and function, with nonsense in its place."""

import inspect
import re
import subprocess
import typing

import keras
import pytest

from tests.arguments import (
    ALSO_FIT,
    NONSENSE,
    OF_EACH_KIND,
    VALID,
    Asked,
    ask,
    fits,
    is_judged,
    prepare,
)
from tests.test_api import UNITS, _argument_section
from tests.test_every_table import TABLES
from tests.thorough import MATRIX

_LONGEST = 500
# How Keras says that an argument is none of the things that it takes.
_OF_KERAS = r"Could not interpret|is not a valid|Unknown `config`|be in format `x`"


def _arguments(unit):
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(unit).parameters.items()
    return [name for name, parameter in parameters if parameter.kind not in kinds]


def _with_arguments():
    for parameter in UNITS:
        unit, name = parameter.values[0], parameter.id.removeprefix("keras_ext.")
        if not getattr(unit, "_is_protocol", False) and _arguments(unit):
            yield pytest.param(name, unit, id=name)


every_unit = pytest.mark.parametrize(("name", "unit"), list(_with_arguments()))


@pytest.fixture(autouse=True)
def _stops_at_the_model(monkeypatch, tmp_path):
    prepare()
    for method in ("__call__", "predict", "fit"):
        monkeypatch.setattr(keras.Model, method, ask)
    # What another process is for.
    monkeypatch.setattr(subprocess, "run", ask)
    monkeypatch.chdir(tmp_path)


@every_unit
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(OF_EACH_KIND, id="of each kind"),
        pytest.param(tuple(NONSENSE), id="all", marks=pytest.mark.thorough(MATRIX)),
    ],
)
def test_nonsense_is_valid_or_refused_by_name(name, unit, labels):
    made = unit.__init__ if inspect.isclass(unit) else unit
    hints = typing.get_type_hints(made)
    valid = VALID.get(name, dict)()
    complaints = []
    for argument in _arguments(unit):
        for label in labels:
            problem = _problem(name, unit, valid, argument, label, hints[argument])
            if problem:
                complaints.append(f"{argument}={label}: {problem}")
    assert not complaints


def _problem(name, unit, valid, argument, label, hint):
    """What is wrong with the answer to nonsense, if anything."""
    value = NONSENSE[label]
    try:
        unit(**{**valid, argument: value})
    except Asked:
        fine = fits(hint, value) or not is_judged(hint)
        return None if fine else "accepted, the model is asked"
    except Exception as error:
        return _unclear(error, argument)
    also = (*ALSO_FIT.get((name, argument), ()), *ALSO_FIT.get(argument, ()))
    fine = fits(hint, value) or label in also
    return None if fine else "accepted"


def _unclear(error, argument):
    """What is wrong with an error, if anything."""
    text = str(error)
    if "<lambda>()" in text:
        return None  # a function that was given fails by itself
    if not isinstance(error, ValueError | TypeError):
        return f"{type(error).__name__}: {text[:200]}"
    if len(text) > _LONGEST:
        return f"a message of {len(text)} characters"
    is_ours = "must be" in text and "Received: " in text
    says = is_ours or re.search(_OF_KERAS, text)
    names = re.search(rf"\b{argument}\b", text) or not is_ours
    return None if says and names else text[:200]


@every_unit
def test_is_printed_short_with_its_name_and_without_an_address(name, unit):
    # These run the model when they are made, and have tests of their own.
    run = ("explain.Explainer", "compression.EarlyExit")
    if inspect.isclass(unit) and name not in run:
        text = repr(unit(**VALID.get(name, dict)()))
        is_table = unit.__name__ in TABLES
        assert is_table or text.removeprefix("<").startswith(unit.__name__)
        assert " object at 0x" not in text
        assert len(text) < _LONGEST


# As in "Number in [0, 1), the share", the beginning of what a docstring says.
_RANGE = r"(Integer|Number)((?: (?:>=|>) -?[\d.e-]+| in [\[(][^\])]*[\])])?)"


@every_unit
def test_what_a_docstring_says_of_a_number_is_what_is_checked(name, unit):
    """In the same words, and with the same bounds."""
    described = _argument_section(inspect.getdoc(unit))
    valid = VALID.get(name, dict)()
    for argument in _arguments(unit):
        found = re.match(_RANGE, described[argument].strip())
        if not found or (name, argument) in OTHER_WORDS:
            continue
        kind, bounds = found.groups()
        expected = f"a{'n' if kind == 'Integer' else ''} {kind.lower()}{bounds}"
        refused, allowed = _around(kind, bounds)
        for value in ["nonsense", *refused]:
            message = _message(unit, {**valid, argument: value})
            assert f"`{argument}` must be {expected}" in message, value
        for value in allowed:
            message = _message(unit, {**valid, argument: value})
            assert f"`{argument}` must be {expected}" not in message, value


# What is valid depends on other arguments.
OTHER_WORDS = {
    ("distribute.strategy", "index"),
    ("regularizers.DepthwiseStrengths", "first"),
    ("regularizers.DepthwiseStrengths", "last"),
}


def _around(kind, bounds):
    """Numbers just outside of bounds, and just inside."""
    found = re.findall(r"-?[\d.]+(?:e-?\d+|\*\*\d+)?", bounds)
    numbers = [float(eval(x)) for x in found]  # as in "2**31"
    step = 1 if kind == "Integer" else 1e-3
    cast = int if kind == "Integer" else float
    refused, allowed = [], []
    for number, sign in zip(numbers, (-1, 1), strict=False):
        is_closed = ">=" in bounds or bounds.strip(" in").startswith("[")
        if sign == 1:
            is_closed = bounds.endswith("]")
        inside, outside = number, number + sign * step
        if not is_closed:
            inside, outside = number - sign * step, number
        refused.append(cast(outside))
        allowed.append(cast(inside))
    return refused, allowed


def _message(unit, arguments):
    try:
        unit(**arguments)
    except (Asked, ValueError, TypeError) as error:
        return str(error)
    return ""
