import numpy as np
import shap

from keras_ext.explain._drawing import Shown
from keras_ext.explain._report_words import words_of


def test_words_that_move_texts_most_come_first():
    values = np.array([[1.0, -4.0, 1.0], [-1.0, 0.5, 9.0]])
    shown = Shown(shap.Explanation(values, base_values=0.0), (1,), "of texts")
    tokens = [["good", "bad", "good"], ["good", "film", ""]]
    words = words_of(tokens, shown, 0)
    assert [word.text for word in words] == ["bad", "good", "film"]
    bad, good, _ = words
    assert (good.mean_size, good.num_texts) == (1.5, 2)
    np.testing.assert_allclose(good.mean, 1 / 3)
    assert bad.mean == -4.0
