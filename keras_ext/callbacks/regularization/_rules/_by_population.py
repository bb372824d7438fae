"""A population of trainings within one, whose best go on."""

import math
from typing import ClassVar

import keras
import numpy as np

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._anatomy._trial import called
from keras_ext._core._typing import Data, Variable
from keras_ext._live._regularization_knobs import RegularizationKnobs
from keras_ext.callbacks.regularization._rules._regularization_rule import (
    Decision,
    RegularizationRule,
    Sensed,
)
from keras_ext.controllers.discrete._population_based import PopulationBased

# What the odds or the strength are multiplied with to explore.
_FACTORS = (0.6, 1.0, 1.6)


class ByPopulation(RegularizationRule):
    """Trains members in turn, an epoch each; the worst take over from the best.

    All begin with the same weights: the first with the hyperparameters of the model,
    the others with others, by random offsets up to half of the span.

    Args:
        members: How many.
        warmup_rounds: They compete after more than so many epochs each.
        seed: The seed of what is random.
        data: What `FixedData` takes, to build a model with that is not built.
    """

    # The gap of one member says nothing about that of the next.
    smoothing = 0.0
    remembered: ClassVar[tuple[str, ...]] = (
        "_member",
        "_scores",
        "_rounds",
        "_population",
        "_states",
    )

    def __init__(
        self, members: int, warmup_rounds: int, *, seed: int | None, data: Data
    ) -> None:
        self._count = members
        self._warmup_rounds = warmup_rounds
        self._seed = seed
        self._data = data
        self._member = 0
        self._scores = [math.nan] * members
        self._states: list[list[np.ndarray]] = []
        self._variables: list[Variable] = []
        self._rounds = 0

    def begin(self, model: keras.Model, knobs: RegularizationKnobs) -> None:
        super().begin(model, knobs)
        random = np.random.default_rng(self._seed)
        size = len(knobs.live)
        offsets = random.uniform(-0.5, 0.5, (self._count, size)) * knobs.span
        # One member keeps what the model was given.
        offsets[0] = 0.0
        edge = math.exp(knobs.span)
        self._population = PopulationBased(
            [self._settings(row) for row in offsets],
            truncation=0.25,
            factors=_FACTORS,
            bounds=dict.fromkeys(knobs.live, (1 / edge, edge)),
            seed=self._seed,
        )

    def _settings(self, offsets: np.ndarray) -> dict[str, float]:
        """Offsets as what odds and strengths are multiplied with."""
        offsets = np.exp(self.knobs.within_room(offsets))
        return dict(zip(self.knobs.live, offsets.tolist(), strict=True))

    def _offsets(self, member: int) -> np.ndarray:
        return np.log(list(self._population.settings[member].values()))

    def before_epoch(self) -> None:
        # Not when training begins: an optimizer may have been wrapped after that.
        if not self._variables:
            self._build()
            self._variables = [*self.model.variables, *self.model.optimizer.variables]
        if not self._states:
            # One list for all: states are replaced, and never written into.
            self._states = [self._state()] * self._count
        else:
            self._load(self._member)
            self.knobs.to(self._offsets(self._member))

    def _build(self) -> None:
        """Makes all variables, so that every member begins with the same values."""
        model = self.model
        with model.distribute_strategy.scope():
            if not model.built:
                called(model, next(iter(FixedData(self._data)))[0], training=False)
            model.optimizer.build(model.trainable_variables)

    def decide(self, sensed: Sensed) -> Decision:
        trained = self._member
        self._states[trained] = self._state()
        self._scores[trained] = sensed.validation_loss
        self._member = (trained + 1) % self._count
        note = f"member {trained}"
        if self._member == 0:
            self._rounds += 1
            if self._rounds > self._warmup_rounds:
                note += self._compete()
        details = {"member": trained, "next_member": self._member}
        offsets = self._offsets(self._member)
        return Decision(offsets, "population", note, details)

    def _compete(self) -> str:
        sources = self._population.update(self._scores)
        self._states = [self._states[source] for source in sources]
        moved = [(i, source) for i, source in enumerate(sources) if i != source]
        return "".join(f", {i} goes on as {source}" for i, source in moved)

    def end(self) -> None:
        """Leaves the best member behind."""
        costs = [s if math.isfinite(s) else math.inf for s in self._scores]
        best = int(np.argmin(costs))
        if costs[best] < math.inf:
            self._load(best)
            self.knobs.to(self._offsets(best))

    def _state(self) -> list[np.ndarray]:
        return [keras.ops.convert_to_numpy(v).copy() for v in self._variables]

    def _load(self, member: int) -> None:
        for variable, value in zip(self._variables, self._states[member], strict=True):
            # A copy: TensorFlow may train on in the memory that it is given.
            variable.assign(value.copy())
