import base64
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
import shap

from keras_ext.explain import Explainer, save_report
from tests.explain.models import convnet, normal, perceptron

mpl.use("agg")


class Page(HTMLParser):
    """What a page shows."""

    def __init__(self, path):
        super().__init__()
        self.images, self.heads, self.cells, self.tags = [], [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        attributes = dict(attributes)
        assert not {"href", "srcset"} & attributes.keys()
        if "src" in attributes:
            self.images.append(attributes["src"])

    def handle_data(self, data):
        if self.lasttag in ("h1", "h2") and data.strip():
            self.heads.append(data)
        if self.lasttag == "td":
            self.cells.append(data)


@pytest.fixture
def path(tmp_path):
    yield tmp_path / "report.html"
    assert mpl.pyplot.get_fignums() == []


def explanation(*shape, names=None, **kwargs):
    values = normal(*shape)
    features = shape[:-1] if names else shape
    base = np.zeros((shape[0], *shape[len(features) :]))
    data = normal(*features, seed=1)
    return shap.Explanation(values, base, data=data, output_names=names, **kwargs)


def test_features_in_bars_dots_and_numbers(path):
    found = explanation(30, 4, feature_names=["a", "b", "c", "<d>"])
    found.values[:, 2] *= 10
    state = np.random.get_state()[1].copy()
    save_report(found, path, title="Who & what?", max_rows=2, max_features=3)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    page = Page(path)
    assert page.heads == ["Who & what?", "What matters", "Row 0", "Row 1"]
    assert page.cells[0] == "c"
    assert len(page.cells) == 3 * 5
    expected = np.abs(found.values[:, 2]).mean()
    assert float(page.cells[1]) == pytest.approx(expected, rel=0.01)
    assert len(page.images) == 2 + 2
    for image in page.images:
        kind, data = image.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not page.tags & {"script", "link"}
    assert "d" not in page.tags


def test_what_explainers_return_with_errors_and_several_outputs(path):
    x = normal(5, 6)
    found = Explainer(perceptron(6, 2), x, method="permutation")(x)
    save_report(found, path, max_rows=1)
    page = Page(path)
    assert page.heads == [
        "Explanation",
        *(f"What matters for {i}" for i in "01"),
        "Row 0",
    ]
    assert len(page.cells) == 2 * 6 * 6
    assert len(page.images) == 2 * 2 + 2


def test_sequences_and_images(path):
    save_report(explanation(4, 6, 3), path, max_rows=2)
    page = Page(path)
    assert page.heads[1:] == ["What matters", "Row 0", "Row 1"]
    assert len(page.images) == 3
    x = normal(3, 4, 4, 1)
    found = Explainer(convnet(), x, method="expected_gradients")(x)
    save_report(found, path, images=np.repeat(x, 3, axis=-1))
    page = Page(path)
    assert page.heads[1:] == ["Single images"]
    assert len(page.images) == 1


def test_texts(path):
    found = explanation(2, 3, 2, names=["bad", "good"])
    save_report(found, path, tokens=[["it", "is", "<b>"]] * 2)
    assert path.read_text(encoding="utf-8").count("&lt;b&gt;") == 4
    assert Page(path).heads.count("Single texts") == 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_rows": 0}, r"`max_rows` must be a positive integer"),
        ({"max_features": 1.5}, r"`max_features` must be a positive integer"),
        ({"path": 3}, r"`path` must be a path"),
        ({"explanation": np.zeros((2, 3))}, r"`explanation` must be a shap.Expl"),
        ({"explanation": shap.Explanation(np.zeros(3), 0.0)}, r"must be of features"),
    ],
)
def test_rejects_bad_arguments(path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        save_report(**{"explanation": explanation(2, 3), "path": path, **kwargs})
