"""Search through all configurations."""

import functools
from collections.abc import Sequence

import keras_tuner
from keras_tuner import Objective
from keras_tuner.oracles import GridSearchOracle as KerasTunerOracle
from keras_tuner.src.tuners.gridsearch import LinkedList

from keras_ext._core._checks import require
from keras_ext._core._typing import Record
from keras_ext.tuner._drop_ins import Builder, split
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._tuner import Tuner


class GridSearchOracle(Oracle, KerasTunerOracle):
    """Tries every combination of values, also after an interruption."""

    takes_points = False

    def populate_space(self, trial_id: str) -> Record:
        names = [hp.name for hp in self.hyperparameters.space]
        twice = sorted({name for name in names if names.count(name) > 1})
        # KerasTuner goes through the grid by names, and would not come to an end.
        hint = "Give them other names, or take RandomSearch or OptunaOracle."
        rule = "a space in which no name is there again under other conditions"
        require(not twice, "hypermodel", twice, rule, hint)
        return super().populate_space(trial_id)

    def _trials_left(self) -> int:
        # Nobody knows how large a grid with conditions is: each may be the last.
        return 0

    def _replay(self) -> None:
        # KerasTuner keeps this order in memory alone, and does not go on without it.
        values = {i: self.trials[i].hyperparameters.values for i in self.start_order}

        def compare(a: str, b: str) -> int:
            return self._compare(values[a], values[b])

        self._ordered_ids = LinkedList()
        for trial_id in sorted(values, key=functools.cmp_to_key(compare)):
            self._ordered_ids.insert(trial_id)
        self._populate_next = list(self.end_order)
        super()._replay()


class GridSearch(Tuner, keras_tuner.GridSearch):
    """Tries all combinations: `keras_tuner.GridSearch`, repaired.

    For a few hyperparameters with a few values each. An interrupted search goes on with
    the combinations that are left. See `Tuner` and `Oracle` for what differs from
    KerasTuner otherwise.

    Args:
        hypermodel: Function from `keras_tuner.HyperParameters` to a compiled model, or
            a `keras_tuner.HyperModel`. None if a subclass overrides `run_trial`.
        objective: What is logged, as `"val_accuracy"`, a `keras_tuner.Objective`, a
            list of these, or None for the number that is returned.
        max_trials: Integer >= 1, how many configurations are tried. None means all.
        seed: Integer, the seed of all draws. None means random.
        **kwargs: Other arguments of `Oracle` and `Tuner`, such as `scheduler`,
            `time_budget`, `directory`, `project_name`, `overwrite`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import tempfile
        >>> import keras_ext as kx
        >>> class Product(kx.tuner.GridSearch):
        ...     def run_trial(self, trial, **kwargs):
        ...         hp = trial.hyperparameters
        ...         return hp.Int("a", 1, 3) * hp.Choice("b", [2.0, 0.5])
        >>> search = Product(directory=tempfile.mkdtemp())
        >>> search.search(verbose=0)
        >>> len(search.oracle.trials), search.get_best_hyperparameters()[0].values
        (6, {'a': 1, 'b': 0.5})
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Builder | None = None,
        objective: str | Objective | Sequence[str | Objective] | None = None,
        max_trials: int | None = None,
        *,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        of_oracle, of_tuner = split(kwargs)
        oracle = GridSearchOracle(objective, max_trials, seed=seed, **of_oracle)
        # KerasTuner's class sets it in its `__init__`, which is passed by.
        self.seed = oracle.seed
        Tuner.__init__(self, oracle, hypermodel, **of_tuner)
