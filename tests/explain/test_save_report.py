import base64
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
import shap
from matplotlib.figure import Figure

from keras_ext.explain import Explainer, save_report
from tests.explain.models import convnet, normal, perceptron
from tests.thorough import LONG

mpl.use("agg")


class Page(HTMLParser):
    """What a page shows."""

    def __init__(self, path):
        super().__init__()
        self.images, self.alts, self.heads, self.subheads = [], [], [], []
        self.cells, self.tags = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        attributes = dict(attributes)
        assert not {"href", "srcset"} & attributes.keys()
        if "src" in attributes:
            self.images.append(attributes["src"])
            self.alts.append(attributes["alt"])

    def handle_data(self, data):
        if self.lasttag in ("h1", "h2") and data.strip():
            self.heads.append(data)
        if self.lasttag == "h3":
            self.subheads.append(data)
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


@pytest.mark.thorough(LONG)
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
    found = Explainer(convnet(), x, method="expected_gradients")(x, 30)
    save_report(found, path, images=np.repeat(x, 3, axis=-1))
    page = Page(path)
    assert page.heads[1:] == ["Row 0", "Row 1", "Row 2"]
    assert len(page.images) == 3


@pytest.mark.thorough(LONG)
def test_ten_outputs_of_images_can_be_read(path, monkeypatch):
    """Every picture keeps a width on the page that its title fits in."""
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda f, *a, **k: drawn.append(f) or save(f, *a, **k)
    )
    names = [f"class {i} of ten" for i in range(10)]
    save_report(explanation(1, 4, 4, 1, 10, names=names), path)
    assert drawn
    for figure in drawn:
        assert figure.get_figwidth() < 12
        titles = [axes.title for axes in figure.axes if axes.get_title()]
        assert [t.get_text().partition(":")[0] for t in titles] == names
        boxes = [title.get_window_extent() for title in titles]
        assert not any(
            a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]
        )


def test_texts_rank_words_wherever_they_stand(path):
    found = explanation(2, 3, 2, names=["bad", "good"])
    found.values[..., 0] = [[1.0, 0.25, -3.0], [-1.5, 7.0, 0.5]]
    save_report(found, path, tokens=[["it", "is", "<b>"], ["<b>", "", "it"]])
    page = Page(path)
    assert page.heads[1:] == [
        *(f"What matters for {name}" for name in ("bad", "good")),
        *(f"Single texts for {name}" for name in ("bad", "good")),
    ]
    # How often, what a text has of it, what a word has; the empty one is padding.
    assert page.cells[:12] == [
        *("<b>", "2", "2.25", "\N{MINUS SIGN}2.25"),
        *("it", "2", "0.750", "0.750"),
        *("is", "1", "0.125", "0.250"),
    ]
    assert "feature" not in path.read_text(encoding="utf-8").partition("</style>")[2]
    assert len(page.images) == 2


@pytest.mark.parametrize("name", ["US$ per A$", "$\\frac$"])
@pytest.mark.thorough(LONG)
def test_names_and_data_with_dollars(path, name):
    found = shap.Explanation(
        normal(4, 2),
        np.zeros(4),
        data=np.array([[name, "b"]] * 4, object),
        feature_names=[name, "b"],
    )
    save_report(found, path, max_rows=1)
    assert {*Page(path).cells[::5]} == {name, "b"}


def test_pictures_are_described_and_titled_once(path):
    found = explanation(2, 5, 3, 2, names=["a < b", "c & d"])
    found.feature_names = None
    save_report(found, path, max_rows=1)
    page = Page(path)
    captions = [alt for alt in page.alts if "\N{RIGHTWARDS ARROW}" in alt]
    assert [alt.partition(":")[0] for alt in captions] == ["a < b", "c & d"]
    assert page.subheads == captions


@pytest.mark.thorough(LONG)
def test_outputs_that_differ_by_row_are_told_by_rank(path):
    x = normal(6, 3)
    found = Explainer(perceptron(3, 4), x, outputs=("top", 2))(x)
    save_report(found, path, max_rows=1)
    heads = Page(path).heads
    assert heads[1:3] == [
        f"What matters for output {i}, from the highest" for i in "12"
    ]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_rows": 0}, r"`max_rows` must be an integer >= 1"),
        ({"max_features": 1.5}, r"`max_features` must be an integer >= 1"),
        ({"path": 3}, r"`path` must be a path"),
        ({"explanation": np.zeros((2, 3))}, r"`explanation` must be a shap.Expl"),
        ({"explanation": shap.Explanation(np.zeros(3), 0.0)}, r"must be of features"),
    ],
)
def test_rejects_bad_arguments(path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        save_report(**{"explanation": explanation(2, 3), "path": path, **kwargs})
