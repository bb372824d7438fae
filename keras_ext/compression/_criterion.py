"""What says which entries of weights are kept while a model trains."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._core._typing import Data, Tensor, Variable
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._fit._fit_scope import FitScope
from keras_ext._keras._replica import local_variable, parts
from keras_ext.callbacks.regularization._data_of_fit import DataOfFit
from keras_ext.compression._input_norms import input_norms, weighted
from keras_ext.compression._mask_rule import score
from keras_ext.compression._saliency import Saliency

CRITERIA = ("magnitude", "movement", "taylor", "activation", "random")
_MOST_ROWS = 512


class Criterion:
    """Gives scores to entries of weights, of which the larger ones are kept.

    Args:
        kind: One of `CRITERIA`.
        scope: That of the training.
        variables: The weights.
        seed: What random scores come from.
    """

    def __init__(
        self, kind: str, scope: FitScope, variables: Sequence[Variable], seed: int
    ) -> None:
        self.kind = kind
        self._model = scope.model
        self._variables = variables
        self._seed = seed
        self._saliency: Saliency | None = None
        self._norms: list[Variable] = []
        if kind in ("movement", "taylor"):
            self._saliency = Saliency(kind, variables)
            self._pipeline = AttachedPipeline.of(scope)
            self._pipeline.add_signal(self._saliency)
        if kind == "activation":
            first = "only_first_replica"
            with scope.model.distribute_strategy.scope():
                self._norms = [
                    # The last axis but one of a kernel is that of the channels it is
                    # applied to.
                    local_variable((v.shape[-2],), "float32", "norms", first, 1.0)
                    for v in variables
                ]

    def begin(self) -> None:
        """Begins to collect, when the training does."""
        if self._saliency is not None:
            self._pipeline.begin()
        self.measure()

    def measure(self) -> None:
        """Measures what the layers take, on rows of the data of `fit`."""
        if self.kind != "activation":
            return
        rows = FixedData.first_rows(DataOfFit(self._model).training_rows(), _MOST_ROWS)
        found = input_norms(self._model, [x for x, _, _ in rows])
        for variable, norms in zip(self._variables, self._norms, strict=True):
            for part in parts(norms):
                part.assign(found[id(variable)])

    def scores(
        self, values: Sequence[Tensor], numbers: Sequence[int]
    ) -> Sequence[Tensor]:
        """The scores of some weights, by their values and numbers; in the step."""
        if self._saliency is not None:
            return [self._saliency.scores[i].value for i in numbers]
        pairs = zip(values, numbers, strict=True)
        if self.kind == "activation":
            return [weighted(w, self._norms[i].value) for w, i in pairs]
        # A seed for each: random masks of weights of one shape would be equal.
        return [score(self.kind, w, self._seed + i) for w, i in pairs]


def scores_at_once(
    criterion: str,
    model: keras.Model,
    variables: Sequence[Variable],
    x: Data,
    seed: int,
) -> list[Tensor]:
    """The scores of the entries of weights of a model that does not train.

    Args:
        criterion: `"magnitude"`, `"activation"` or `"random"`.
        model: The model.
        variables: The weights.
        x: Rows to measure with, for `"activation"`.
        seed: What random scores come from.
    """
    values = [ops.convert_to_tensor(v) for v in variables]
    if criterion != "activation":
        return [score(criterion, w, seed + i) for i, w in enumerate(values)]
    norms = input_norms(model, [keras.tree.map_structure(np.asarray, x)])
    pairs = zip(values, variables, strict=True)
    return [weighted(w, ops.convert_to_tensor(norms[id(v)])) for w, v in pairs]
