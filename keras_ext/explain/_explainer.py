"""Shapley values and their kin for any Keras model."""

import time
from collections.abc import Mapping, Sequence
from functools import partial

import keras
import numpy as np

from keras_ext._core._checks import choice, flag, integer, number, require
from keras_ext._core._lines import say
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Data, Explanation, Function, OutputChoice
from keras_ext.explain._arguments import is_compiled, number_or_auto
from keras_ext.explain._choice import SAMPLED_UP_TO, choose
from keras_ext.explain._evaluation import Evaluation
from keras_ext.explain._explanation import (
    pairs_explanation,
    spread_explanation,
    to_explanation,
)
from keras_ext.explain._feature_names import named_elements
from keras_ext.explain._inputs import Inputs
from keras_ext.explain._interactions import interaction_values
from keras_ext.explain._methods import METHODS, WITHOUT_GRADIENTS
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._players import Groups, Players
from keras_ext.explain._problem import Problem, Rows
from keras_ext.explain._python_model import Estimator, PythonModel, as_model
from keras_ext.explain._squares import squares_of
from keras_ext.explain._stretched import steps_of, stretched
from keras_ext.explain._trust import (
    require_finite,
    warn_of_gap,
    warn_of_values_that_are_not_finite,
)


class Explainer:
    """Explains the outputs of a model for single rows, as a `shap.Explanation`.

    Each *player*, a feature or a group of features, gets a value: how much the output
    changes because the player has this row's value instead of a background value. The
    values of a row and the base value, which is the mean output over the background,
    add up to the output. Everything in `shap.plots` can draw the result.

    The methods:

    - `"exact"`: Shapley values, by all coalitions of up to 16 players.
    - `"permutation"`: Shapley values, estimated by random orders of the players, with
      a standard error.
    - `"kernel"`: Shapley values, estimated by a regression (Kernel SHAP). For
      comparison, and for a background of one row.
    - `"owen"`: Owen values of single elements, whose `groups` stay together.
    - `"expected_gradients"`: gradients at random points between background and row.
      Much faster where there are many elements. *Not* Shapley values.
    - `"integrated_gradients"`: the same integral with as many nodes as it takes, for a
      background of a few rows, such as a black image. *Not* Shapley values.
    - `"deep"`: DeepLIFT, layer by layer, averaged over the background (Deep SHAP). Of
      the gradient methods the one with the fewest evaluations. Layers without a rule
      of their own are integrated. *Not* Shapley values.
    - `"auto"`: `"exact"` up to 12 players, else `"permutation"`. Of images of more than
      4096 numbers, squares play, 7 along the longer side. `reason` says so.

    The model is called in inference mode, within compiled graphs, in chunks whose
    memory is bounded. The whole background is used. Nothing outside of the explainer
    is changed, neither random state nor TensorFlow.

    Args:
        model: A built Keras model of any kind; or, for methods that take no gradients,
            a function from rows to `(rows,)` or `(rows, outputs)`, or an estimator of
            scikit-learn, of which `predict_proba` or else `predict` is explained. These
            get rows in the form of the background.
        background: The rows that are compared with, as the model takes them: an array
            or list of rows; a list, tuple or dictionary of these; DataFrames, whose
            columns become names; or a `tf.data.Dataset` or `PyDataset`, which is read
            as a whole. 50 to 200 rows of the training data are usual. Where the model
            takes sequences of any length, rows of a single step stand for as many equal
            steps as the explained rows have.
        method: One of the above. Defaults to `"auto"`.
        outputs: Which outputs are explained: None for all; a number or name, or a list
            of these; `"top"` for the highest of each row, `("top", k)` for the `k`
            highest; or a function from what the model puts out to a tensor of shape
            `(rows,)` or `(rows, outputs)`.
        groups: Elements that come and go together: an integer array of the shape of a
            row, with equal numbers within a group, as `keras_ext.explain.groups` makes
            them; a dictionary of such arrays by the names of several inputs; or a
            dictionary from names of groups to lists of features. None means that
            every element is a player.
        feature_names: The names of all elements of a row, or those of its last axis,
            such as the features of a sequence; for several inputs a dictionary of such,
            by name. None takes them from the background.
        output_names: The names of all outputs. None takes them from the model.
        link: `"identity"`, or `"logit"` to explain the log-odds of probabilities.
            Defaults to `"identity"`.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether the graphs are compiled with XLA. `"auto"` does so on accelerators
            only: on a CPU, it takes seconds to compile and made convolutions slower.
            Defaults to `"auto"`.
        seed: Integer >= 0. The same seed gives the same values, whatever rows
            are explained together. Defaults to `0`.

    Attributes:
        method: The method that is used.
        reason: Why, in a sentence.
        expected_value: The mean output over the background, a number or an array.

    Raises:
        ValueError: If an argument is not of this form, or the method cannot explain
            this model or this number of players.
        ImportError: If shap is not installed, when called.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[1.0], [2.0], [0.0]]), np.zeros(1)])
        >>> explainer = kx.explain.Explainer(model, background=np.zeros((1, 3)))
        >>> explainer.method
        'exact'
        >>> explanation = explainer(np.array([[1.0, 1.0, 1.0]]))
        >>> print(explanation.values.round(6), explanation.base_values)
        [[1. 2. 0.]] [0.]

    References:
        - [Lundberg and Lee, 2017](https://arxiv.org/abs/1705.07874), Kernel SHAP
        - [Mitchell et al., 2022](https://arxiv.org/abs/2104.12199), random orders
        - [Musco and Witter, 2024](https://arxiv.org/abs/2410.01917), leverage scores
        - [Erion et al., 2021](https://arxiv.org/abs/1906.10670), expected gradients
        - [Sundararajan et al., 2017](https://arxiv.org/abs/1703.01365), integrated
          gradients
        - [Shrikumar et al., 2017](https://arxiv.org/abs/1704.02685), DeepLIFT
    """

    def __init__(  # noqa: PLR0913
        self,
        model: keras.Model | Function | Estimator,
        background: Data,
        *,
        method: str = "auto",
        outputs: OutputChoice = None,
        groups: Groups = None,
        feature_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        output_names: Sequence[str] | None = None,
        link: str = "identity",
        batch_size: int | str = "auto",
        jit: bool | str = "auto",
        seed: int = 0,
    ) -> None:
        self._with_background = partial(
            type(self),
            model,
            method=method,
            outputs=outputs,
            groups=groups,
            feature_names=feature_names,
            output_names=output_names,
            link=link,
            batch_size=batch_size,
            jit=jit,
            seed=seed,
        )
        method = choice(method, "method", ("auto", *METHODS))
        size = number_or_auto(batch_size, "batch_size")
        seed = integer(seed, "seed", low=0)
        compiled = is_compiled(jit)
        model = as_model(model, background)
        if isinstance(model, PythonModel):
            rule = f"one of {WITHOUT_GRADIENTS} for a model that is no keras.Model"
            require(method in ("auto", *WITHOUT_GRADIENTS), "method", method, rule)
            compiled = False
            output_names = model.classes if output_names is None else output_names
        inputs = Inputs(model, background)
        parts = inputs.parts(background, "background")
        function = ModelFunction(model, inputs, parts, outputs, output_names, link)
        names, last_axis = named_elements(inputs, feature_names)
        said = ""
        if groups is None and method == "auto":
            groups, said = squares_of(inputs, SAMPLED_UP_TO)
        grouped = Players(inputs, groups, names, last_axis)
        single = Players(inputs, None, names, last_axis)
        self.method, self.reason = choose(method, grouped.count)
        if said:
            self.reason += f" {said}"
            say(self.reason)
        players = single if self.method == "owen" else grouped
        self._evaluate = Evaluation(function, parts, size, compiled)
        self._problem = Problem(
            function,
            parts,
            players,
            self._evaluate.batch_size,
            compiled,
            seed,
            None if groups is None else grouped.of_element,
            self._evaluate.bytes_per_row,
        )
        self._explain = METHODS[self.method](self._problem)
        self._of_steps: dict[tuple[int, ...], Explainer] = {}

    @property
    def expected_value(self) -> float | np.ndarray:
        """The mean over the background of each output from which `outputs` chooses."""
        mean = self._evaluate(self._problem.background).mean(axis=0, dtype="float64")
        return float(mean[0]) if len(mean) == 1 else mean

    def __call__(
        self,
        x: Data,
        budget: int | str = "auto",
        tolerance: float | None = None,
        show_progress: bool = True,
    ) -> Explanation:
        """Explains rows.

        Args:
            x: The rows, in the form of the background.
            budget: About how many evaluations of the model each row may take, or
                `"auto"` for a number that is smaller for large models; `error_std` says
                what error that leaves. With a `tolerance` as many again are made until
                it is met.
            tolerance: The standard error that no value should exceed; None makes one
                round. Methods without a standard error take it for what the values may
                miss the output by, or ignore it.
            show_progress: Whether a bar is shown if it takes more than two seconds.

        Returns:
            A `shap.Explanation`. With one input and without groups, its values have
            the shape of the input, else `(rows, players)`; with several outputs there
            is one axis more. `base_values` are `(rows,)` or `(rows, outputs)`;
            `error_std`, `data` and the names are there as far as they are known.
            Methods that take gradients leave in `gap`, of the shape of `base_values`,
            what their values missed the output by. They make values add up by dividing
            it among them; where it is more than rounding and chance, they warn and
            leave it out.

        Raises:
            ValueError: If the rows are not in the form of the background, or the
                outputs of some are infinite or NaN.
        """
        if (other := self._for_steps_of(x)) is not self:
            return other(x, budget, tolerance, show_progress)
        most = number_or_auto(budget, "budget")
        tolerance = number(tolerance, "tolerance", above=0, optional=True)
        flag(show_progress, "show_progress")
        begin = time.perf_counter()
        rows = self._rows(x)
        found = self._explain(rows, most, tolerance, Progress(show_progress))
        warn_of_values_that_are_not_finite(found.values)
        if found.gap is not None and found.is_left is not None:
            warn_of_gap(found.gap, found.is_left)
        problem = self._problem
        seconds = time.perf_counter() - begin
        return to_explanation(
            found, rows, problem.players, problem.function, x, seconds
        )

    def spread(self, explanation: Explanation, x: Data) -> Explanation:
        """Brings an explanation to the shape of the input or inputs.

        What a group has is divided evenly among its elements, so that sums remain.

        Args:
            explanation: What the explainer returned.
            x: The rows that it is of.

        Returns:
            A `shap.Explanation` with values and data of the shape of the input; with
            several inputs a dictionary of such, by name.
        """
        return spread_explanation(explanation, self._for_steps_of(x)._problem, x)

    def interactions(self, x: Data, *, show_progress: bool = True) -> Explanation:
        """Explains rows by pairs of players: what two have together beyond each alone.

        Shapley interaction values, by all coalitions of up to 16 players, whatever the
        method of the explainer. Half of what a pair has stands on either side of the
        diagonal, and on it what a player has alone; the rows of such a matrix add up to
        the Shapley values.

        Args:
            x: The rows, in the form of the background.
            show_progress: Whether to say how long it takes, if it takes a while.

        Returns:
            A `shap.Explanation` with values of the shape `(rows, players, players)`;
            with several outputs there is one axis more.

        Raises:
            ValueError: If there are more players; pass `groups` then.

        Examples:
            >>> import numpy as np
            >>> import keras_ext as kx
            >>> explainer = kx.explain.Explainer(
            ...     lambda rows: rows[:, 0] * rows[:, 1] + rows[:, 2], np.zeros((1, 3))
            ... )
            >>> found = explainer.interactions(np.array([[2.0, 3.0, 5.0]]))
            >>> print(found.values[0].round(6) + 0.0)
            [[0. 3. 0.]
             [3. 0. 0.]
             [0. 0. 5.]]
        """
        flag(show_progress, "show_progress")
        if (other := self._for_steps_of(x)) is not self:
            return other.interactions(x, show_progress=show_progress)
        begin = time.perf_counter()
        rows, problem = self._rows(x), self._problem
        found = interaction_values(problem, rows, Progress(show_progress))
        return pairs_explanation(found, rows, problem, time.perf_counter() - begin)

    def __repr__(self) -> str:
        return f"Explainer(method={self.method!r}): {self.reason}"

    def _for_steps_of(self, x: Data) -> "Explainer":
        """This one, or one whose background has as many steps as the rows have."""
        problem = self._problem
        steps = steps_of(problem.inputs, x)
        if steps is None:
            return self
        if steps not in self._of_steps:
            background = stretched(problem.inputs, problem.background, steps)
            self._of_steps[steps] = self._with_background(background)
        return self._of_steps[steps]

    def _rows(self, x: Data) -> Rows:
        parts = self._problem.inputs.parts(x)
        values = self._evaluate(parts)
        background = self._evaluate(self._problem.background)
        require_finite(background, "background")
        require_finite(values, "x")
        which = self._problem.function.which(values)
        return Rows(parts, values, which, background)
