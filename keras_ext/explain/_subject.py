"""What the metrics judge: values, the rows that they are of, and the model."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keras_ext._core._checks import require
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Data, Explanation
from keras_ext.explain._arguments import number_or_auto
from keras_ext.explain._coalitions import Coalitions
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._problem import Rows
from keras_ext.explain._values import by_player

_SILENT = Progress(show=False)


class Subject:
    """An explanation, with what it takes to compute others for the same outputs.

    Args:
        explanation: A `shap.Explanation` of the rows, by any method.
        explainer: What knows the model, its outputs, the background and the players.
        x: The rows, as the model takes them.

    Attributes:
        values: `(rows, players, k)`, in float64.
        rows: The rows.
        problem: The problem.

    Raises:
        ValueError: If the explanation is not one of these rows, players and outputs.
    """

    def __init__(self, explanation: Explanation, explainer: Explainer, x: Data) -> None:
        valid = isinstance(explainer, Explainer)
        require(valid, "explainer", explainer, "a keras_ext.explain.Explainer")
        self._explainer = explainer
        self.problem = explainer._problem
        self.rows = explainer._rows(x)
        self.values = by_player(explanation)
        count = self.problem.players.count
        shape = (len(self.rows.which), count, self.rows.which.shape[1])
        rule = f"of the {shape[0]} rows, {shape[1]} players and {shape[2]} outputs"
        hint = "Give the explainer the `groups` and `outputs` of the explanation."
        found = self.values.shape
        require(found == shape, "explanation", found, f"{rule} of the explainer", hint)

    def coalitions(self, background: Data = None) -> Coalitions:
        """The value of coalitions, over this background or that of the explainer."""
        if background is None:
            return Coalitions(self.problem)
        parts = self.problem.inputs.parts(background, "background")
        return Coalitions(replace(self.problem, background=parts))

    def outputs(self, parts: Sequence[np.ndarray], which: np.ndarray) -> np.ndarray:
        """The chosen outputs of other rows, `(rows, k)`, in float64."""
        columns: np.ndarray = self._explainer._evaluate(parts).astype("float64")
        return np.take_along_axis(columns, which, axis=1)

    def explained(self, parts: Sequence[np.ndarray], budget: int | str) -> np.ndarray:
        """The values that the model has now, for rows in the place of these."""
        most = number_or_auto(budget, "budget")
        evaluate = self._explainer._evaluate
        rows = Rows(
            parts, evaluate(parts), self.rows.which, evaluate(self.problem.background)
        )
        return self._explainer._explain(rows, most, None, _SILENT).values

    def shaped(self, found: np.ndarray) -> np.ndarray:
        """Leaves out the last axis, that of outputs, if there is one output."""
        return found[..., 0] if found.shape[-1] == 1 else found
