"""Words and numbers of a report, as text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_ext.explain._drawing import Shown
from keras_ext.explain.plots._text_html import written


@dataclass(frozen=True)
class Word:
    """A word, wherever it stands in the texts.

    Attributes:
        text: The word.
        values: Its values, one for each time that it stands there.
        num_texts: How many texts there are.
    """

    text: str
    values: np.ndarray
    num_texts: int

    @property
    def mean_size(self) -> float:
        """How much it moves a text in the mean, whatever the direction."""
        return float(np.abs(self.values).sum() / self.num_texts)

    @property
    def mean(self) -> float:
        """Its mean value, where it stands."""
        return float(self.values.mean())


def words_of(tokens: Sequence[Sequence[str]], shown: Shown, output: int) -> list[Word]:
    """The words of texts, first those that move them most; no padding."""
    values = shown.values[..., output]
    found: dict[str, list[float]] = {}
    for row, texts in zip(values, written(tokens, values.shape), strict=True):
        for value, word in zip(row, texts, strict=True):
            if word:
                found.setdefault(word, []).append(float(value))
    words = [Word(text, np.array(of), len(values)) for text, of in found.items()]
    return sorted(words, key=lambda word: -word.mean_size)
