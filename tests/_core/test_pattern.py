import re
from types import SimpleNamespace

import keras
import pytest

from keras_ext._core._pattern import check_pattern, is_selected, matches, require_some


def item(path):
    return SimpleNamespace(path=path)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("dense", "model/dense_1/kernel", True),  # searched, not matched in full
        ("dense$", "model/dense_1/kernel", False),
        ("^dense", "model/dense_1/kernel", False),
        (r"/(kernel|bias)$", "model/dense_1/kernel", True),
        ("Dense", "model/dense_1/kernel", False),
        ("", "model/dense_1/kernel", True),
        (["bias", "kernel"], "model/dense_1/kernel", True),
        (("bias", "gamma"), "model/dense_1/kernel", False),
        ({"kernel"}, "model/dense_1/kernel", True),
        ([], "model/dense_1/kernel", False),
        (lambda x: x.path.startswith("model"), "model/dense_1/kernel", True),
        (lambda x: [], "model/dense_1/kernel", False),
        (None, "model/dense_1/kernel", False),
    ],
)
def test_searches_the_path(pattern, path, expected):
    check_pattern("include", pattern)
    assert matches(pattern, item(path)) is expected


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (None, None, ["a/kernel", "a/bias", "b/kernel"]),
        ("kernel", None, ["a/kernel", "b/kernel"]),
        (None, "kernel", ["a/bias"]),
        ("^a", "bias", ["a/kernel"]),
        ("^a", "^a", []),
        ([], None, []),
        (None, [], ["a/kernel", "a/bias", "b/kernel"]),
    ],
)
def test_selects_what_is_included_and_not_excluded(include, exclude, expected):
    items = [item("a/kernel"), item("a/bias"), item("b/kernel")]
    assert [x.path for x in items if is_selected(x, include, exclude)] == expected


@pytest.mark.parametrize(
    ("pattern", "ending"),
    [
        (1, "Received: layers=1."),
        ([1], "Received: layers=[1]."),
        (["a", None], "Received: layers=['a', None]."),
        (b"a", "Received: layers=b'a'."),
        (
            keras.layers.Dense(2, name="top"),
            "Received: layers=<Dense name=top, built=False>. For the weights of a "
            "layer or of a model inside, pass "
            "`lambda w: any(w is v for v in layer.weights)`.",
        ),
        ("[", "Received: layers='['. '[' fails: unterminated character set"),
        (["a", "("], "Received: layers=['a', '(']. '(' fails: missing )"),
    ],
)
def test_rejects_what_is_no_pattern(pattern, ending):
    message = (
        "`layers` must be a regular expression, a list of them, a function or None. "
        + ending
    )
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        check_pattern("layers", pattern)


def test_rejects_a_generator():
    # It would be used up by the first variable, and select nothing after it.
    with pytest.raises(ValueError, match="^`include` must be .* a list of them"):
        check_pattern("include", (name for name in ["kernel"]))


def test_a_selection_of_nothing_is_an_error_that_names_what_leaves_nothing():
    names = {"what": "layer", "paths": ["a", "b"]}
    require_some(["a"], "a", "b", **names)
    message = r"`{}` must be such that some layer is left of \['a', 'b'\]"
    for include, exclude, name in (("c", None, "include"), (None, "", "exclude")):
        with pytest.raises(ValueError, match=message.format(name)):
            require_some([], include, exclude, **names)
