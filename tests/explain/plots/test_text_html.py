import re
from html.parser import HTMLParser

import numpy as np
import pytest
import shap

from keras_ext.explain.plots import text_html


class Spans(HTMLParser):
    """The text, color and title of each token."""

    def __init__(self, html):
        super().__init__()
        self.found, self.tags = [], set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "span":
            self.attributes = dict(attributes)

    def handle_data(self, data):
        if self.lasttag == "span" and data.strip():
            color = re.search(r"rgba\((.*?)\)", self.attributes["style"])[1]
            self.found.append((data, color, self.attributes["title"]))


def explanation(values, **kwargs):
    values = np.asarray(values, float)
    base = np.full((len(values), *values.shape[2:]), 0.5)
    return shap.Explanation(values, base, **kwargs)


def test_tokens_have_the_color_of_their_values():
    html = text_html(explanation([[0.4, -0.2, 0.0]]), tokens=[["good", "bad", "film"]])
    good, bad, film = Spans(html).found
    assert good == ("good", "255,0,81,0.750", "+0.400")
    assert bad[1].startswith("0,139,251,0.37")
    assert film[1].endswith(",0.000")
    assert "output: 0.500 \N{RIGHTWARDS ARROW} 0.700" in html


def test_text_is_escaped_and_padding_left_out():
    words = [["<script>alert(1)</script>", "&", ""]]
    spans = Spans(text_html(explanation([[1.0, 2.0, 0.0]]), tokens=words))
    assert [text for text, *_ in spans.found] == [words[0][0], "&"]
    assert spans.tags == {"div", "span"}
    named = explanation([[1.0]], output_names=["<b>"])
    assert Spans(text_html(named, tokens=[["x"]])).tags == {"div", "span"}


def test_writes_the_data_where_no_tokens_are_given():
    found = explanation([[1.0, 2.0]], data=np.array([[3.0, 12.0]]))
    assert [text for text, *_ in Spans(text_html(found)).found] == ["3", "12"]
    words = explanation([[1.0]], data=np.array([[b"ja"]], object))
    assert Spans(text_html(words)).found[0][0] == "ja"


def test_one_of_several_outputs_and_a_limit_of_rows():
    values = np.zeros((4, 2, 2))
    values[..., 1] = 1.0
    found = explanation(values, output_names=["a", "b"])
    html = text_html(found, tokens=[["x", "y"]] * 4, output="b", max_rows=3)
    assert len(Spans(html).found) == 6
    assert html.count("b: 0.50") == 3


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tokens": [["a"]]}, r"`tokens` must be 1 rows of 2 tokens each"),
        ({}, r"`tokens` must be 1 rows of 2 tokens each"),
        (
            {"tokens": [["a", "b"]], "max_rows": 0},
            r"`max_rows` must be an integer >= 1",
        ),
        ({"tokens": [["a", "b"]], "output": 1}, r"`output` must be the number or name"),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        text_html(explanation([[1.0, 2.0]]), **kwargs)
