"""Which words of a text matter, for models that take texts as they are."""

import re
import time
from collections.abc import Sequence

import keras
import numpy as np

from keras_ext._core._checks import choice, flag, integer, require
from keras_ext._core._extras import import_extra
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Explanation, Function, OutputChoice, Record
from keras_ext.explain._arguments import number_or_auto
from keras_ext.explain._evaluation import Evaluation
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._inputs import Inputs
from keras_ext.explain._methods import WITHOUT_GRADIENTS
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._python_model import Estimator, PythonModel, as_model
from keras_ext.explain._row_outputs import named_by_row

# The values of its words, `(words, k)`, their errors, and the base values.
_OfText = tuple[np.ndarray, np.ndarray, np.ndarray]


def explain_words(  # noqa: PLR0913
    model: keras.Model | Function | Estimator,
    texts: Sequence[str] | np.ndarray,
    *,
    mask: str = "",
    pattern: str | None = None,
    method: str = "auto",
    outputs: OutputChoice = None,
    output_names: Sequence[str] | None = None,
    budget: int | str = "auto",
    batch_size: int | str = "auto",
    seed: int = 0,
    show_progress: bool = True,
) -> Explanation:
    """Explains texts by their words, for a model that takes raw texts.

    The value of a word says how much the output changes because the word is there and
    not hidden: its Shapley value among the words of its text. The base value is the
    output for a text of which all words are hidden. For a model that takes tokens as
    numbers, `Explainer` does the same.

    Args:
        model: A Keras model with one input of texts, such as one that begins with
            `TextVectorization`; or a function of texts, or a pipeline of scikit-learn.
        texts: The texts, as the model takes them: a list, or an array of one axis, or
            of two of which the last has the length 1.
        mask: What stands in the place of a word that is hidden, such as `"[UNK]"`.
            Defaults to `""`, which leaves the word out.
        pattern: Regular expression of a word. None means whatever stands between
            spaces.
        method: `"exact"`, `"permutation"` or `"kernel"`, as for `Explainer`, or
            `"auto"`, exact for up to 12 words. Defaults to `"auto"`.
        outputs: Which outputs, as for `Explainer`. None means all.
        output_names: The names of all outputs. None takes them from the model.
        budget: About how many evaluations of the model a text may take, or `"auto"`.
            Defaults to `"auto"`.
        batch_size: How many texts the model gets at a time, or `"auto"`. Defaults to
            `"auto"`.
        seed: Integer >= 0, for what is drawn. Defaults to `0`.
        show_progress: Whether to say how long it takes, if it takes a while. Defaults
            to `True`.

    Returns:
        A `shap.Explanation`, which `plots.text_html` and `save_report` can draw. Its
        values have the shape `(texts, words)`, and one axis more for several outputs;
        its data are the words, empty ones behind the last of a shorter text.

    Raises:
        ValueError: If an argument is not of this form.
        ImportError: If shap is not installed.

    Examples:
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> def count_good(texts):
        ...     return np.array([text.count("good") for text in texts])
        >>> texts = ["a good, good film", "no"]
        >>> found = kx.explain.explain_words(count_good, texts)
        >>> print(found.data[0], found.values[0].round(6) + 0.0)
        ['a' 'good,' 'good' 'film'] [0. 1. 1. 0.]
    """
    require(isinstance(mask, str), "mask", mask, "a text")
    words = _compiled(pattern)
    # The last of them, "owen", needs groups.
    method = choice(method, "method", ("auto", *WITHOUT_GRADIENTS[:3]))
    number_or_auto(budget, "budget")
    seed = integer(seed, "seed", low=0)
    flag(show_progress, "show_progress")
    begin = time.perf_counter()
    if isinstance(texts, list | tuple):
        are_texts = all(isinstance(x, str | bytes | list) for x in texts)
        require(are_texts, "texts", texts, "texts, one in each row")
        texts = np.asarray(texts, object)
    game = _Game(as_model(model, texts), texts, outputs, output_names, batch_size)
    parts = [_Pieces(text, words, mask) for text in game.texts]
    progress, found = Progress(show_progress), []
    for row, pieces in enumerate(parts):
        options = {"method": method, "seed": seed}
        found.append(game.explained(row, pieces, options, budget))
        progress(row + 1, len(parts))
    return game.explanation(parts, found, time.perf_counter() - begin)


def _compiled(pattern: str | None) -> re.Pattern[str]:
    given = r"\S+" if pattern is None else pattern
    require(isinstance(given, str), "pattern", pattern, "a regular expression")
    try:
        return re.compile(given)
    except re.error as error:
        require(False, "pattern", pattern, "a regular expression", f"{error}.")
        raise


class _Pieces:
    """A text as words, each with what stands behind it."""

    def __init__(self, text: str, pattern: re.Pattern[str], mask: str) -> None:
        places = [match.span() for match in pattern.finditer(text)]
        places = [(begin, end) for begin, end in places if end > begin]
        ends = [*(begin for begin, _ in places[1:]), len(text)][: len(places)]
        self.words = [text[begin:end] for begin, end in places]
        self._mask = mask
        self._head = text[: places[0][0]] if places else text
        self._behind = [
            text[end:until] for (_, end), until in zip(places, ends, strict=True)
        ]

    def without(self, kept: np.ndarray) -> str:
        """The text with those words that are kept."""
        text = self._head
        for word, behind, stays in zip(self.words, self._behind, kept, strict=True):
            if stays:
                text += word + behind
            elif self._mask:
                text += self._mask + behind
        return text


class _Game:
    """A model of texts, and which of its outputs are explained of each."""

    def __init__(
        self,
        model: keras.Model | PythonModel,
        texts: Sequence[str] | np.ndarray,
        outputs: OutputChoice,
        names: Sequence[str] | None,
        batch_size: int | str,
    ) -> None:
        self._inputs = Inputs(model, texts, "texts")
        parts = self._inputs.parts(texts, "texts")
        is_text = self._inputs.dtypes == ["string"] and self._inputs.sizes == [1]
        found = [tuple(shape) for shape in self._inputs.shapes]
        rule = "texts, one in each row, as the only input"
        require(is_text, "texts", (self._inputs.dtypes, found), rule)
        names = getattr(model, "classes", None) if names is None else names
        self._function = ModelFunction(model, self._inputs, parts, outputs, names)
        size = number_or_auto(batch_size, "batch_size")
        self._evaluate = Evaluation(self._function, parts, size, jit=False)
        self.which = self._function.which(self._evaluate(parts))
        self.texts = [
            text.decode() if isinstance(text, bytes) else str(text)
            for text in parts[0][:, 0]
        ]

    def explained(
        self, row: int, pieces: _Pieces, options: Record, budget: int | str
    ) -> _OfText:
        """The values of the words of a text: `(words, k)`, errors, and base values."""

        def function(kept: np.ndarray) -> np.ndarray:
            texts = np.array([[pieces.without(words)] for words in kept], object)
            return self._evaluate([texts])[:, self.which[row]]

        count = max(len(pieces.words), 1)
        if not pieces.words:  # nothing to be hidden
            shape = (count, self.which.shape[1])
            base = self._evaluate([np.array([[pieces.without(np.zeros(0))]], object)])
            return np.zeros(shape), np.zeros(shape), base[0, self.which[row]]
        # The words play: True where one is kept, and in the background none is.
        explainer = Explainer(function, np.zeros((1, count), bool), **options)
        every: np.ndarray = np.ones((1, count), bool)
        found = explainer(every, budget=budget, show_progress=False)
        values = found.values.reshape(count, -1)
        error = found.error_std
        error = np.zeros_like(values) if error is None else error.reshape(count, -1)
        return values, error, np.reshape(found.base_values, -1)

    def explanation(
        self, parts: Sequence[_Pieces], found: Sequence[_OfText], seconds: float
    ) -> Explanation:
        """All texts together, with empty words behind the shorter ones."""
        shape = (len(parts), max(len(values) for values, _, _ in found))
        values, error = (np.zeros((*shape, self.which.shape[1])) for _ in range(2))
        words: np.ndarray = np.full(shape, "", object)
        for row, (pieces, (own, miss, _)) in enumerate(zip(parts, found, strict=True)):
            values[row, : len(own)], error[row, : len(own)] = own, miss
            words[row, : len(pieces.words)] = pieces.words
        base = np.stack([base for _, _, base in found])
        one, names = values.shape[-1] == 1, np.array(self._function.names, object)
        several = names.tolist() if self._function.top is None else names[self.which]
        explanation = import_extra("shap", "explain").Explanation(
            values=values[..., 0] if one else values,
            base_values=base[:, 0] if one else base,
            data=words,
            output_names=None if one else several,
            error_std=error[..., 0] if one else error,
            compute_time=seconds,
        )
        if self._function.top != 1:
            return explanation
        return named_by_row(explanation, names[self.which[:, 0]])
