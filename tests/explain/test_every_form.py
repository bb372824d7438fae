"""Every method, on every way to give rows, finds what all orders of players give."""

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_ext.explain import Explainer, maps
from keras_ext.explain._methods import METHODS
from tests.thorough import LONG, MATRIX

COLUMNS = ["b", "a", "c"]
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(5, 3)).astype("float32")
WHOLE = RNG.integers(1, 7, (5, 3))
IMAGES = RNG.normal(size=(5, 2, 2, 1)).astype("float32")


@dataclass
class Form:
    """Rows in one form.

    Attributes:
        model: Takes them. Of what it adds and multiplies, every method that follows
            straight lines finds the Shapley values.
        given: The rows, as the user has them; two to explain, then three to compare.
        taken: The same as the model declares it, in the order of the elements.
        names: The names of the inputs that `taken` is of, in a dictionary.
    """

    model: Any
    given: Any
    taken: list[np.ndarray]
    names: list[str] | None = None

    def cut(self, rows):
        if isinstance(self.given, pd.DataFrame):
            return self.given.iloc[rows]
        if isinstance(self.given, list) and not hasattr(self.given[0], "shape"):
            return self.given[rows]
        return keras.tree.map_structure(lambda x: x[rows], self.given)

    def outputs(self, parts):
        if self.names is not None:
            parts = dict(zip(self.names, parts, strict=True))
        return np.asarray(self.model(parts if self.names else parts[0]))[:, 0]


def head(x, product=True):
    """A sum of everything, and of the product of the first two."""
    flat = layers.Flatten()(x) if len(x.shape) > 2 else x
    total = layers.Dense(1)(flat)
    return total + flat[:, :1] * flat[:, 1:2] if product else total


def one_input(given, taken=None, shape=(3,), dtype="float32", between=None):
    inputs = keras.Input(shape, dtype=dtype)
    hidden = inputs if between is None else between(inputs)
    model = keras.Model(inputs, head(hidden))
    return Form(model, given, [np.asarray(given) if taken is None else taken])


def of_columns(given, as_list=False, shape=(1,), order=COLUMNS):
    inputs = {name: keras.Input(shape, name=name) for name in sorted(COLUMNS)}
    flat = [x if shape else layers.Reshape((1,))(x) for x in inputs.values()]
    inputs_of = list(inputs.values()) if as_list else inputs
    model = keras.Model(inputs_of, head(layers.Concatenate()(flat)))
    taken = [NUMBERS[:, COLUMNS.index(name)].reshape(-1, *shape) for name in order]
    return Form(model, given, taken, list(order))


def nested():
    """The model within takes numbers of one axis more than it gets."""
    inner = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    between = keras.Input((3,))
    model = keras.Model(between, inner(between[:, 0]) + head(between))
    return Form(model, NUMBERS, [NUMBERS])


class TokensAndPositions(layers.Layer):
    """As the transformers of the Keras examples begin."""

    def __init__(self, words=9, length=3):
        super().__init__()
        self.tokens = layers.Embedding(words, 2, embeddings_initializer="normal")
        self.positions = layers.Embedding(length, 2)

    def call(self, x):
        return self.tokens(x) + self.positions(ops.arange(ops.shape(x)[-1]))


def fields():
    """Two of three numbers are ids, each with a table of its own."""
    inputs = keras.Input((3,))
    found = [
        layers.Embedding(9, 2)(ops.cast(inputs[:, i] + i, "int32")) for i in (0, 1)
    ]
    total = layers.Dense(1)(layers.Concatenate()([*found, inputs[:, 2:]]))
    return Form(keras.Model(inputs, total), WHOLE, [WHOLE])


def embedded(given, layer, dtype="int32", shape=(3,)):
    inputs = keras.Input(shape, dtype=dtype)
    total = layers.Dense(1)(layers.Flatten()(layer(inputs)))
    taken = np.asarray(given).reshape(-1, *shape)
    return Form(keras.Model(inputs, total), given, [taken])


FRAME = pd.DataFrame(NUMBERS, columns=COLUMNS)
SEPARATE = {name: NUMBERS[:, i] for i, name in enumerate(COLUMNS)}
SORTED = sorted(COLUMNS)

FORMS = {
    "array": lambda: one_input(NUMBERS),
    "float64": lambda: one_input(NUMBERS.astype("float64"), dtype="float64"),
    "integers for reals": lambda: one_input(WHOLE),
    "bools for reals": lambda: one_input(WHOLE > 3, (WHOLE > 3).astype("float32")),
    "list of rows": lambda: one_input(NUMBERS.tolist(), NUMBERS),
    "tensor": lambda: one_input(tf.constant(NUMBERS), NUMBERS),
    "DataFrame": lambda: one_input(FRAME, NUMBERS),
    "no channel axis": lambda: one_input(IMAGES[..., 0], IMAGES, (2, 2, 1)),
    "an axis more": lambda: one_input(NUMBERS[..., None], NUMBERS),
    "columns": lambda: of_columns(FRAME),
    "columns without axes": lambda: of_columns(FRAME, shape=()),
    "columns of a list": lambda: of_columns(FRAME, as_list=True),
    "dictionary": lambda: of_columns(SEPARATE, order=SORTED),
    "dictionary for a list": lambda: of_columns(
        {k: SEPARATE[k][:, None] for k in COLUMNS}, as_list=True, order=SORTED
    ),
    "list of tensors": lambda: of_columns(
        [tf.constant(SEPARATE[k]) for k in SORTED], as_list=True, order=SORTED
    ),
    "nested model": nested,
    "tokens": lambda: embedded(WHOLE, layers.Embedding(9, 2)),
    "tokens as reals": lambda: embedded(WHOLE, layers.Embedding(9, 2), "float32"),
    "tokens with an axis more": lambda: embedded(
        WHOLE[..., None], layers.Embedding(9, 2)
    ),
    "tokens and positions": lambda: embedded(WHOLE, TokensAndPositions()),
    "ids among numbers": fields,
    "counts": lambda: one_input(
        WHOLE, dtype="int32", between=lambda x: ops.cast(x, "float32")
    ),
    "bytes": lambda: one_input(
        WHOLE.astype("uint8"), dtype="uint8", between=layers.Rescaling(0.5)
    ),
    "bools": lambda: one_input(
        WHOLE > 3, dtype="bool", between=lambda x: ops.cast(x, "float32")
    ),
}
OF_FEW = {"array", "dictionary for a list", "tokens and positions"}
CASES = [
    pytest.param(
        form,
        method,
        marks=()
        if form in OF_FEW or method == "deep"
        else pytest.mark.thorough(MATRIX),
    )
    for form in FORMS
    for method in METHODS
]


def shapley(form):
    """The mean over all orders of what each player brings, and over the background."""
    flat = [part.reshape(5, -1) for part in form.taken]
    joined = np.concatenate(flat, axis=1)
    ends = np.cumsum([part.shape[1] for part in flat])[:-1]
    count = joined.shape[1]
    orders = list(itertools.permutations(range(count)))
    walks = list(itertools.product(range(2), range(2, 5), orders))
    states = np.stack([np.repeat(joined[b : b + 1], count + 1, 0) for _, b, _ in walks])
    for walk, (row, _, order) in enumerate(walks):
        for place, player in enumerate(order):
            states[walk, place + 1 :, player] = joined[row, player]
    split = np.split(states.reshape(-1, count), ends, axis=1)
    outputs = form.outputs(
        [
            state.reshape(-1, *part.shape[1:]).astype(part.dtype)
            for state, part in zip(split, form.taken, strict=True)
        ]
    )
    found = np.zeros((2, count))
    brought = np.diff(outputs.reshape(len(walks), count + 1), axis=1)
    for gains, (row, _, order) in zip(brought, walks, strict=True):
        found[row, list(order)] += gains / len(orders) / 3
    return found


@pytest.fixture(scope="module")
def known():
    """Models with their values, each made once for all methods."""
    made = {}

    def get(name):
        if name not in made:
            keras.utils.set_random_seed(1)
            form = FORMS[name]()
            made[name] = form, shapley(form)
        return made[name]

    return get


@pytest.mark.parametrize(("name", "method"), CASES)
@pytest.mark.thorough(LONG)
def test_values_are_those_of_all_orders(known, name, method):
    form, expected = known(name)
    shape = np.shape(form.cut(slice(2))) if method == "owen" else None
    groups = None
    if method == "owen":
        groups = (
            np.arange(expected.shape[1]).reshape(shape[1:])
            if len(form.taken) == 1
            else {k: [f] for k, f in zip("xyz", range(3), strict=True)}
        )
    explainer = Explainer(
        form.model, form.cut(slice(2, 5)), method=method, groups=groups
    )
    found = explainer(form.cut(slice(2)))
    error = 0.0 if found.error_std is None else 5 * np.abs(found.error_std).max()
    np.testing.assert_allclose(
        found.values.reshape(expected.shape), expected, atol=1e-4 + error
    )


@pytest.mark.parametrize(
    "name",
    ["columns", "dictionary for a list", "no channel axis", "tokens and positions"],
)
def test_maps_are_in_the_same_place(known, name):
    """The gradient of a sum with a product, at each element, by small steps."""
    form, _ = known(name)
    found = maps.input_x_gradient(form.model, form.cut(slice(2)))
    values = list(found.values()) if isinstance(found, dict) else [found]
    if isinstance(found, dict):
        assert list(found) == form.names
    if "tokens" in name:
        assert values[0].shape == (2, 3)
        return
    flat = np.concatenate([v.reshape(2, -1) for v in values], axis=1)
    parts = [part[:2] for part in form.taken]
    up, down = (form.outputs([p * (1 + step) for p in parts]) for step in (0.01, -0.01))
    np.testing.assert_allclose(flat.sum(axis=1), (up - down) / 0.02, rtol=1e-3)


@pytest.mark.thorough(LONG)
def test_masks_are_seen_or_it_is_said(recwarn):
    inputs = keras.Input((4,), dtype="int32")
    hidden = layers.Embedding(9, 2, mask_zero=True, embeddings_initializer="normal")
    mean = layers.GlobalAveragePooling1D()(hidden(inputs))
    model = keras.Model(inputs, layers.Dense(1)(mean))
    x, background = np.array([[3, 4, 0, 0]]), np.array([[5, 6, 7, 8]])
    expected = Explainer(model, background, method="exact")(x)
    for method in ("expected_gradients", "integrated_gradients", "deep"):
        warnings.simplefilter("always")
        with pytest.warns(UserWarning, match="1 of 1 rows do not add up.*`gap`"):
            found = Explainer(model, background, method=method)(x)
        missing = expected.values.sum() - found.values.sum()
        np.testing.assert_allclose(found.gap, [missing], atol=1e-5)
