import keras
import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from keras_ext.explain import explain_words, save_report
from keras_ext.explain.plots import text_html

TEXTS = ["good film", "a bad, bad film", "", "very good  indeed"]
QUIET = {"show_progress": False}


def counted(texts):
    """A point for each `good`, minus two for `bad`."""
    return np.array([t.count("good") - 2.0 * t.count("bad") for t in np.ravel(texts)])


def keras_model(shape):
    """The same with layers: a table of words, and a weight for each."""
    words = keras.layers.TextVectorization(
        vocabulary=["good", "bad", "film"], output_mode="count"
    )
    inputs = keras.Input(shape, dtype="string")
    sums = keras.layers.Dense(2, use_bias=False, name="mood")
    model = keras.Model(inputs, sums(words(inputs)))
    sums.kernel.assign([[0.0, 0], [1, 0], [-2, 1], [0, 1]])
    return model


@pytest.mark.parametrize("shape", [(), (1,)])
def test_words_of_a_model_of_texts(shape):
    texts = np.reshape(np.array(TEXTS, object), (-1, *shape))
    found = explain_words(keras_model(shape), texts, **QUIET)
    assert found.data.tolist() == [
        ["good", "film", "", ""],
        ["a", "bad,", "bad", "film"],
        ["", "", "", ""],
        ["very", "good", "indeed", ""],
    ]
    mood = [[1, 0, 0, 0], [0, -2, -2, 0], [0] * 4, [0, 1, 0, 0]]
    np.testing.assert_allclose(found.values[..., 0], mood, atol=1e-6)
    np.testing.assert_allclose(found.values[1, :, 1], [0, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found.base_values, np.zeros((4, 2)), atol=1e-6)
    assert list(found.output_names) == ["0", "1"]


def test_functions_and_pipelines():
    found = explain_words(counted, TEXTS, **QUIET)
    assert found.values[1].tolist() == [0.0, -2.0, -2.0, 0.0]
    model = make_pipeline(CountVectorizer(), LogisticRegression())
    model.fit(TEXTS[:2], ["yes", "no"])
    found = explain_words(model, TEXTS, outputs="top", **QUIET)
    assert list(found.output_names) == list(model.predict(TEXTS))
    reached = found.values.sum(axis=1) + found.base_values
    np.testing.assert_allclose(reached, model.predict_proba(TEXTS).max(1), atol=1e-6)


def test_texts_as_bytes_and_words_that_look_like_nothing():
    found = explain_words(counted, [b"good nan"], **QUIET)
    assert found.data.tolist() == [["good", "nan"]]
    np.testing.assert_allclose(found.values, [[1, 0]], atol=1e-6)


@pytest.mark.parametrize("method", ["exact", "permutation", "kernel"])
def test_a_single_word_has_all(method):
    found = explain_words(counted, ["bad"], method=method, **QUIET)
    np.testing.assert_allclose(found.values, [[-2]], atol=1e-6)
    np.testing.assert_allclose(found.error_std, [[0]], atol=1e-6)


def test_words_that_are_hidden_may_leave_a_mark():
    seen = set()

    def function(texts):
        seen.update(np.ravel(texts))
        return counted(texts)

    explain_words(function, [" so good, so"], mask="_", pattern=r"\w+", **QUIET)
    assert " so _, _" in seen
    assert " _ good, so" in seen
    seen.clear()
    explain_words(function, [" so good, so"], **QUIET)
    assert {" ", " so so", " good, so"} <= seen


def test_long_texts_are_sampled():
    text = " ".join(["good", "bad", *"abcdefghijklmnopqrst"])
    found = explain_words(counted, [text], **QUIET)
    expected = [1.0, -2.0, *[0.0] * 20]
    np.testing.assert_allclose(found.values[0], expected, atol=1e-5)


def test_pictures_show_the_words(tmp_path):
    found = explain_words(counted, TEXTS[:2], **QUIET)
    assert ">bad,<" in text_html(found)
    save_report(found, tmp_path / "report.html", tokens=found.data)
    assert "<td>bad</td>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": np.zeros((2, 3))}, "`texts` must be texts, one in each row"),
        ({"mask": 3}, "`mask` must be a text"),
        ({"pattern": "("}, "`pattern` must be a regular expression.*unterminated"),
        ({"pattern": 3}, "`pattern` must be a regular expression"),
        ({"method": "deep"}, '`method` must be "auto", "exact"'),
        ({"outputs": "mood"}, "`outputs` must be"),
        ({"budget": 0}, "`budget` must be an integer >= 1"),
    ],
)
def test_rejects_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        explain_words(**{"model": counted, "texts": TEXTS, **arguments})
