import keras
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import shap
import tensorflow as tf

from keras_ext.explain import Explainer, groups
from tests.explain.models import (
    Formula,
    convnet,
    linear,
    normal,
    outputs_of,
    perceptron,
    two_inputs,
)
from tests.thorough import LONG, STATISTICS, thorough_but

SHAPLEY = ("exact", "permutation", "kernel", "owen")
ALL = (*SHAPLEY, "expected_gradients", "integrated_gradients", "deep")
X, BACKGROUND = normal(20, 6, seed=1), normal(30, 6, seed=2)


def explain(model, background, x, method, **kwargs):
    """Explains; for Owen values each feature is a group."""
    if method == "owen":
        kwargs["groups"] = np.arange(np.size(background[0])).reshape(
            background.shape[1:]
        )
    return Explainer(model, background, method=method, **kwargs)(x)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return perceptron()


@pytest.fixture(scope="module")
def exact(network):
    return Explainer(network, BACKGROUND, method="exact")(X)


@pytest.fixture(scope="module")
def classifier():
    """A classifier, and the explanation of all its outputs."""
    keras.utils.set_random_seed(0)
    model = perceptron(3, 3, "softmax")
    return model, Explainer(model, normal(8, 3, seed=3))(normal(5, 3))


@pytest.mark.parametrize("method", ALL)
def test_linear_models_have_their_closed_form(method):
    weights = np.array([1.0, -2.0, 0.5, 0.0, 3.0, 1.0])
    found = explain(linear(weights), BACKGROUND, X, method)
    expected = weights * (X - BACKGROUND.mean(axis=0))
    # Standard errors of nothing: a linear model has no interactions to be sampled.
    tolerance = 0.5 if method == "expected_gradients" else 2e-6
    np.testing.assert_allclose(found.values, expected, atol=tolerance)
    outputs = (X @ weights)[:, None]
    total = found.values.sum(axis=1) + found.base_values
    np.testing.assert_allclose(total, outputs[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ALL)
def test_a_product_is_shared_equally(method):
    model = Formula(lambda a, b, c, d, e: a * b * c + d)
    x = np.array([[2.0, 3.0, 4.0, 5.0, 6.0]])
    found = explain(model, np.zeros((1, 5)), x, method)
    miss = np.abs(found.values - [[8, 8, 8, 5, 0]])
    error = 0 if found.error_std is None else found.error_std
    assert (miss <= 3 * error + 1e-5).all()


def test_exact_values_are_those_of_shap(network, exact):
    reference = shap.ExactExplainer(lambda x: network(x).numpy()[:, 0], BACKGROUND)
    np.testing.assert_allclose(exact.values, reference(X).values, atol=1e-6)


def test_exact_values_keep_the_axioms():
    model = Formula(lambda a, b, c: a * b + a + b)  # equal in `a` and `b`, without `c`
    values = Explainer(model, np.zeros((1, 3)))(np.array([[2.0, 2.0, 9.0]])).values
    assert values[0, 0] == pytest.approx(values[0, 1], abs=1e-7)
    assert values[0, 2] == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize(
    "method",
    thorough_but({"permutation"}, ["permutation", "kernel", "owen"], STATISTICS),
)
def test_estimates_are_within_their_standard_errors(method):
    x, background = normal(20, 9, seed=1), normal(20, 9, seed=2)
    model = perceptron(9)
    exact = Explainer(model, background)(x).values
    budget = 200 * 20 if method == "kernel" else "auto"  # of 510 coalitions
    kwargs = {"groups": np.arange(9)} if method == "owen" else {}
    inside, squares, variances = [], [], []
    for seed in range(12):
        explainer = Explainer(model, background, method=method, seed=seed, **kwargs)
        found = explainer(x, budget)
        miss = np.abs(found.values - exact)
        inside.append(miss <= 3 * found.error_std)
        squares.append(miss**2)
        variances.append(found.error_std**2)
    assert np.mean(inside) >= 0.99
    assert np.mean(squares) == pytest.approx(np.mean(variances), rel=0.5)


@pytest.mark.parametrize("method", ["permutation", "kernel"])
def test_a_tolerance_is_met(network, exact, method):
    explainer = Explainer(network, BACKGROUND, method=method)
    budget = 12 * 30
    rough = explainer(X, budget)
    fine = explainer(X, budget, tolerance=0.02)
    assert rough.error_std.max() > 0.02 >= fine.error_std.max()
    assert np.abs(fine.values - exact.values).max() < 0.1


def test_kernel_with_all_coalitions_has_no_error(network, exact):
    found = Explainer(network, BACKGROUND, method="kernel")(X)
    np.testing.assert_allclose(found.values, exact.values, atol=2e-6)
    assert found.error_std.max() == 0


@pytest.mark.parametrize(
    "method", ["integrated_gradients", "expected_gradients", "deep"]
)
def test_gradients_are_integrated_along_straight_lines(method):
    # From 0 to x the integral of x0 ** 2 * x1 gives 2/3 to x0 and 1/3 to x1.
    model = Formula(lambda a, b: a**2 * b)
    found = Explainer(model, np.zeros((1, 2)), method=method)(
        np.array([[2.0, 3.0]]), 400
    )
    atol = 0.1 if method == "expected_gradients" else 1e-5
    np.testing.assert_allclose(found.values, [[8.0, 4.0]], atol=atol)


def test_expected_gradients_approach_the_mean_of_integrals(network):
    many = Explainer(network, BACKGROUND, method="integrated_gradients")(X, 30 * 512)
    found = Explainer(network, BACKGROUND, method="expected_gradients")(X, 3000)
    miss = np.abs(found.values - many.values)
    assert (miss <= 3 * found.error_std).mean() >= 0.99
    assert miss.max() < 0.1


@pytest.mark.usefixtures("graphs_as_shipped")
@pytest.mark.thorough(LONG)
def test_tokens_are_explained_through_their_embeddings():
    tokens = keras.Input((4,), dtype="int32")
    embedding = keras.layers.Embedding(9, 3)
    hidden = keras.layers.Flatten()(embedding(tokens))
    model = keras.Model(tokens, keras.layers.Dense(1)(hidden))
    rng = np.random.default_rng(0)
    x, background = rng.integers(0, 9, (5, 4)), rng.integers(0, 9, (10, 4))
    table = np.asarray(embedding.embeddings)
    kernel = np.asarray(model.layers[-1].kernel).reshape(4, 3)
    means = table[background].mean(axis=0)
    expected = ((table[x] - means) * kernel).sum(axis=-1)
    for method in ("exact", "expected_gradients", "integrated_gradients", "deep"):
        found = Explainer(model, background, method=method)(x)
        tolerance = 0.05 if method == "expected_gradients" else 1e-6
        np.testing.assert_allclose(found.values, expected, atol=tolerance)
        assert "call" not in vars(embedding)


@pytest.mark.parametrize("as_dictionary", [True, False])
@pytest.mark.parametrize("method", ["auto", "expected_gradients", "deep"])
@pytest.mark.thorough(LONG)
def test_several_inputs_and_outputs(method, as_dictionary):
    model = two_inputs(as_dictionary)
    rng = np.random.default_rng(0)

    def rows(n):
        number, tokens = normal(n, 2), rng.integers(0, 7, (n, 3))
        pair = {"number": number, "tokens": tokens}
        return pair if as_dictionary else [number, tokens]

    explainer = Explainer(model, rows(10), method=method)
    x = rows(4)
    found = explainer(x)
    names = ["number[0]", "number[1]", "tokens[0]", "tokens[1]", "tokens[2]"]
    assert list(found.feature_names) == names
    outputs = outputs_of(model, x)
    if not as_dictionary:
        outputs = dict(zip(("size", "kind"), outputs, strict=True))
    order = ("kind", "size") if as_dictionary else ("size", "kind")
    flat = np.concatenate([outputs[name] for name in order], axis=1)
    np.testing.assert_allclose(
        found.values.sum(axis=1) + found.base_values, flat, atol=1e-6
    )
    parts = explainer.spread(found, x)
    assert parts["tokens"].values.shape == (4, 3, 3)
    np.testing.assert_array_equal(parts["number"].values, found.values[:, :2])
    kind = Explainer(model, rows(10), outputs="kind")
    assert kind(x).values.shape == (4, 5, 2)


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (1, None),
        ("b", None),
        (["c", 0], ["c", "a"]),
        (["c", "b", "a"], ["c", "b", "a"]),
        (lambda y: y[:, 2] - y[:, 0], None),
        ("top", None),
        (("top", 2), None),
        (None, ["a", "b", "c"]),
    ],
)
def test_outputs_are_chosen(classifier, outputs, names):
    model, whole = classifier
    x, background = normal(5, 3), normal(8, 3, seed=3)
    given = None if callable(outputs) else ["a", "b", "c"]
    found = Explainer(model, background, outputs=outputs, output_names=given)(x)
    y = outputs_of(model, x)
    index = np.argsort(-y, axis=1)
    expected = {
        "1": whole.values[..., 1],
        "b": whole.values[..., 1],
        "['c', 0]": whole.values[..., [2, 0]],
        "['c', 'b', 'a']": whole.values[..., ::-1],
        "top": np.take_along_axis(whole.values, index[:, None, :1], 2)[..., 0],
        "('top', 2)": np.take_along_axis(whole.values, index[:, None, :2], 2),
        "None": whole.values,
    }.get(str(outputs), whole.values[..., 2] - whole.values[..., 0])
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    if names:
        assert list(found.output_names) == names
    assert found.base_values.shape == found.values.shape[:1] + found.values.shape[2:]


def test_log_odds_of_probabilities():
    hidden = linear([1.0, 2.0])
    model = keras.Sequential([hidden, keras.layers.Activation("sigmoid")])
    x, background = normal(4, 2), normal(6, 2, seed=5)
    found = Explainer(model, background, link="logit")(x)
    expected = np.array([1.0, 2.0]) * (x - background.mean(axis=0))
    np.testing.assert_allclose(found.values, expected, atol=1e-4)


@pytest.mark.parametrize(
    "method",
    thorough_but({"integrated_gradients"}, ["integrated_gradients", "deep"]),
)
def test_more_outputs_than_one_graph_goes_back_from(method):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(20)])
    found = Explainer(model, np.zeros((1, 3)), method=method)(X[:4, :3])
    expected = X[:4, :3, None] * model.get_weights()[0]
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


def test_groups_play_together():
    model = Formula(lambda a, b, c, d: a * b + c * d)
    x = np.array([[1.0, 2.0, 3.0, 4.0]])
    labels = np.array([0, 0, 1, 1])
    columns = {"first": [0, "feature 1"], "second": [2, 3]}
    for given in (labels, columns):
        found = Explainer(model, np.zeros((1, 4)), groups=given)(x)
        np.testing.assert_allclose(found.values, [[2.0, 12.0]], atol=1e-6)
        np.testing.assert_allclose(found.data, [[1.5, 3.5]])
    assert list(found.feature_names) == ["first", "second"]


def test_owen_values_by_their_definition():
    # v = a * c with the coalition {a, b}: `a` has half of it, as if `b` were not there.
    # v = a * b * c: the pair comes before or after `c`; `a` and `b` share its half.
    model = Formula(lambda a, b, c: a * b * c)
    explainer = Explainer(
        model, np.zeros((1, 3)), method="owen", groups={"pair": [0, 1], "single": [2]}
    )
    found = explainer(np.array([[1.0, 2.0, 6.0]]))
    assert (np.abs(found.values - [[3, 3, 6]]) <= 3 * found.error_std + 1e-5).all()


def test_owen_values_of_a_group_are_its_shapley_value(network):
    labels = {"a": [0, 1], "b": [2], "c": [3, 4, 5]}
    together = Explainer(network, BACKGROUND, groups=labels)(X).values
    owen = Explainer(network, BACKGROUND, method="owen", groups=labels)
    single = owen(X, tolerance=0.03)
    sums = np.stack([single.values[:, i].sum(1) for i in labels.values()], axis=1)
    np.testing.assert_allclose(sums, together, atol=0.1)


def test_images_have_the_shape_of_images():
    model = convnet()
    x, background = normal(3, 4, 4, 1), normal(5, 4, 4, 1, seed=1)
    single = Explainer(model, background, outputs="top")(x)
    assert single.values.shape == single.data.shape == (3, 4, 4, 1)
    squares = Explainer(model, background, groups=groups.grid((4, 4, 1), 2))
    assert squares.method == "exact"
    found = squares(x)
    assert found.values.shape == (3, 4, 3)
    image = squares.spread(found, x)
    assert image.values.shape == (3, 4, 4, 1, 3)
    np.testing.assert_allclose(
        image.values.sum(axis=(1, 2, 3)), found.values.sum(axis=1)
    )


def test_frames_give_names_and_words_may_be_explained():
    frame = pd.DataFrame(X, columns=list("uvwxyz"))
    found = Explainer(perceptron(), frame[:10])(frame)
    assert list(found.feature_names) == list("uvwxyz")
    size, color = (
        keras.Input((), name="size"),
        keras.Input((), name="color", dtype="string"),
    )
    lookup = keras.layers.StringLookup(
        vocabulary=["red", "green"], output_mode="one_hot"
    )
    both = keras.layers.Concatenate()([keras.ops.expand_dims(size, 1), lookup(color)])
    model = keras.Model(
        {"size": size, "color": color}, keras.layers.Dense(1, use_bias=False)(both)
    )
    model.layers[-1].set_weights([np.array([[2.0], [9.0], [5.0], [1.0]])])
    background = pd.DataFrame({"size": [1.0, 3.0], "color": ["red", "green"]})
    found = Explainer(model, background)(
        pd.DataFrame({"size": [4.0], "color": ["green"]})
    )
    assert list(found.feature_names) == ["size", "color"]
    np.testing.assert_allclose(found.values, [[4.0, -2.0]], atol=1e-6)
    assert found.display_data.tolist() == [[4.0, "green"]]


@pytest.mark.parametrize("method", ["permutation", "kernel", "expected_gradients"])
def test_a_row_has_the_same_values_alone_and_among_others(network, method):
    explainer, x = Explainer(network, BACKGROUND, method=method, batch_size=50), X[:5]
    state = np.random.get_state()[1].copy()
    together = explainer(x).values
    np.testing.assert_allclose(explainer(x[3:4]).values[0], together[3], atol=1e-5)
    np.testing.assert_array_equal(explainer(x).values, together)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    other = Explainer(network, BACKGROUND, method=method, seed=1)(x, 30 * 20)
    assert np.abs(other.values - together).max() > 1e-6


@pytest.mark.parametrize(
    "method",
    ["exact", "permutation", "expected_gradients", "deep"],
)
@pytest.mark.thorough(LONG)
def test_xla_and_small_chunks_change_nothing(network, method):
    budget = 40
    usual = Explainer(network, BACKGROUND[:4], method=method)(X[:3], budget)
    compiled = Explainer(network, BACKGROUND[:4], method=method, jit=True)(
        X[:3], budget
    )
    chunks = Explainer(network, BACKGROUND[:4], method=method, batch_size=5)(
        X[:3], budget
    )
    np.testing.assert_allclose(compiled.values, usual.values, atol=1e-5)
    np.testing.assert_allclose(chunks.values, usual.values, atol=1e-5)


def test_players_that_are_as_in_the_background_cost_nothing():
    calls = []

    class Counting(keras.Model):
        def call(self, inputs):
            tf.py_function(lambda x: calls.append(len(x)), [inputs], [])
            return keras.ops.sum(inputs, axis=1, keepdims=True)

    x = np.ones((1, 20), "float32")
    x[0, :3] = 2.0
    explainer = Explainer(Counting(), np.ones((1, 20)), method="permutation")
    calls.clear()
    found = explainer(x, budget=40 * 19)
    assert np.flatnonzero(found.values[0]).tolist() == [0, 1, 2]
    # Two of three places for each of 40 orders, and the two ends.
    assert sum(calls) == 40 * 2 + 2


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = perceptron()
    for method in ("exact", "expected_gradients"):
        found = Explainer(model, BACKGROUND, method=method)(X)
        total = found.values.sum(axis=1) + found.base_values
        np.testing.assert_allclose(total, outputs_of(model, X)[:, 0], atol=5e-3)


def test_follows_the_model_when_it_is_trained_on():
    model = linear([1.0, 0.0])
    explainer = Explainer(model, np.zeros((1, 2)))
    model.set_weights([np.array([[0.0], [3.0]]), np.ones(1)])
    found = explainer(np.array([[1.0, 1.0]]))
    np.testing.assert_allclose(found.values, [[0.0, 3.0]], atol=1e-6)
    assert found.base_values.tolist() == [1.0]
    assert explainer.expected_value == 1.0


def test_plots_of_shap_take_it(network, exact):
    mpl.use("Agg")
    shap.plots.waterfall(exact[0], show=False)
    shap.plots.beeswarm(exact, show=False)
    shap.plots.bar(exact, show=False)
    shap.plots.heatmap(exact, show=False)
    shap.plots.force(exact[0], matplotlib=True, show=False)
    shap.plots.scatter(exact[:, 0], show=False)
    several = Explainer(perceptron(6, 3, "softmax"), BACKGROUND)(X)
    shap.plots.waterfall(several[0, :, 1], show=False)
    shap.plots.beeswarm(several[:, :, "2"], show=False)
    images = Explainer(convnet(), normal(2, 4, 4, 1))(normal(2, 4, 4, 1))
    shap.plots.image(images, show=False)
    mpl.pyplot.close("all")


def test_auto_says_what_it_chose():
    assert "4 players have 16 coalitions" in repr(
        Explainer(perceptron(4), normal(2, 4))
    )
    many = Explainer(perceptron(13), normal(2, 13))
    assert many.method == "permutation"
    assert "13 players are too many" in many.reason
    with pytest.raises(
        ValueError, match=r"`players` must be <= 4096 .*players=4097.*groups"
    ):
        Explainer(linear(np.ones(4097)), np.zeros((1, 4097)))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"method": "deepest"},
            r"`method` must be \"auto\", .*Received: method='deepest'",
        ),
        ({"batch_size": 0}, r'`batch_size` must be an integer >= 1 or "auto"'),
        ({"seed": -1}, r"`seed` must be an integer >= 0"),
        ({"link": "log"}, '`link` must be "identity" or "logit"'),
        ({"jit": "yes"}, r"`jit` must be True, False or"),
        ({"outputs": "none"}, r"`outputs` must be .* the outputs are \['dense_?\d*'\]"),
        ({"outputs": ("top", 2)}, r"`outputs` must be at most 1 outputs"),
        ({"feature_names": ["a"]}, r"`feature_names` must be 6 names"),
        ({"output_names": ["a", "b"]}, r"`output_names` must be 1 names"),
        ({"groups": np.zeros(5, int)}, r"`groups` must be .* the shape \(6,\)"),
        ({"groups": {"a": [0, 0]}}, r"`groups` must be of features .* each in one"),
        ({"method": "owen"}, r'`groups` must be given for method="owen"'),
    ],
)
def test_rejects_bad_arguments(network, kwargs, message):
    with pytest.raises(ValueError, match=message):
        Explainer(network, BACKGROUND, **kwargs)


def test_rejects_rows_of_another_kind(network):
    explainer = Explainer(network, BACKGROUND)
    with pytest.raises(ValueError, match=r"`x` must be rows of the shape \(6,\).* 5\)"):
        explainer(X[:, :5])
    with pytest.raises(ValueError, match=r"`x` must be rows of the .*\(2, 20, 6\)"):
        explainer([X, X])
    with pytest.raises(ValueError, match=r"`x` must be with the names.*'a'"):
        explainer({"a": X})
    with pytest.raises(ValueError, match=r"`background` must be of one row or more"):
        Explainer(network, BACKGROUND[:0])
    with pytest.raises(ValueError, match=r"`budget` must be an integer >= 1"):
        explainer(X, budget=0)
    with pytest.raises(ValueError, match=r"`tolerance` must be a number > 0"):
        explainer(X, tolerance=0)
    with pytest.raises(ValueError, match=r"`players` must be <= 16.*permutation"):
        Explainer(linear(np.ones(17)), np.zeros((1, 17)), method="exact")
    with pytest.raises(ValueError, match=r"`budget` must be >= 360, twice"):
        Explainer(network, BACKGROUND, method="kernel")(X, budget=300)


def test_says_which_input_has_no_gradient():
    number = keras.Input((2,), dtype="int32", name="codes")
    model = keras.Model(
        number, keras.layers.Dense(1)(keras.ops.one_hot(number[:, 0], 3))
    )
    with pytest.raises(ValueError, match=r"real numbers.*'codes'.*\"permutation\""):
        Explainer(model, np.zeros((1, 2), int), method="expected_gradients")


class Failing(keras.layers.Layer):
    """Fails while `broken`, in the middle of whatever traces it."""

    broken = False

    def call(self, inputs):
        if Failing.broken:
            raise RuntimeError("broken")
        return inputs


@pytest.mark.thorough(LONG)
def test_training_goes_on_after_failures(monkeypatch):
    embedding = keras.layers.Embedding(5, 2)
    model = keras.Sequential(
        [keras.Input((3,), dtype="int32"), embedding, Failing()]
        + [keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    x = np.random.default_rng(0).integers(0, 5, (8, 3))
    methods = ("exact", "expected_gradients", "deep", "kernel")
    explainers = {method: Explainer(model, x, method=method) for method in methods}
    for attempt in range(80):
        method = methods[attempt % 4]
        if attempt % 10 == 0:
            monkeypatch.setattr(Failing, "broken", True)
            with pytest.raises(RuntimeError, match="broken"):
                Explainer(model, x, method=method)
            monkeypatch.setattr(Failing, "broken", False)
        else:
            with pytest.raises(ValueError, match="`x` must be"):
                explainers[method](x[:, :2])
        if attempt % 40 == 0:
            model.compile("sgd", "mse")
            model.fit(x, np.ones((8, 1)), epochs=1, verbose=0)
            fresh = linear([1.0, 2.0])
            fresh.compile("sgd", "mse")
            fresh.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=1, verbose=0)
    assert not any("call" in vars(layer) for layer in model.layers)
