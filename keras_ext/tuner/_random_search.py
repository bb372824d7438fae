"""Search by random configurations."""

from collections.abc import Sequence

import keras_tuner
from keras_tuner import Objective
from keras_tuner.oracles import RandomSearchOracle as KerasTunerOracle

from keras_ext.tuner._drop_ins import Builder, split
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._tuner import Tuner


class RandomSearchOracle(Oracle, KerasTunerOracle):
    """Draws each configuration from the whole space, none twice."""


class RandomSearch(Tuner, keras_tuner.RandomSearch):
    """Tries random configurations: `keras_tuner.RandomSearch`, repaired.

    The baseline of any search, and the best one for a handful of trials in parallel.
    See `Tuner` and `Oracle` for what differs from KerasTuner.

    Args:
        hypermodel: Function from `keras_tuner.HyperParameters` to a compiled model, or
            a `keras_tuner.HyperModel`. None if a subclass overrides `run_trial`.
        objective: What is logged, as `"val_accuracy"`, a `keras_tuner.Objective`, a
            list of these, or None for the number that is returned.
        max_trials: Integer >= 1 or None, how many configurations are tried. Defaults to
            `10`.
        seed: Integer, the seed of all draws. None means random.
        **kwargs: Other arguments of `Oracle` and `Tuner`, such as `scheduler`,
            `time_budget`, `directory`, `project_name`, `overwrite`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import tempfile
        >>> import keras_ext as kx
        >>> class Parabola(kx.tuner.RandomSearch):
        ...     def run_trial(self, trial, **kwargs):
        ...         return trial.hyperparameters.Float("x", -1.0, 1.0) ** 2
        >>> search = Parabola(max_trials=20, seed=0, directory=tempfile.mkdtemp())
        >>> search.search(verbose=0)
        >>> len(search.oracle.trials)
        20

    References:
        - [Bergstra and Bengio, 2012](https://jmlr.org/papers/v13/bergstra12a.html)
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Builder | None = None,
        objective: str | Objective | Sequence[str | Objective] | None = None,
        max_trials: int | None = 10,
        *,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        of_oracle, of_tuner = split(kwargs)
        oracle = RandomSearchOracle(objective, max_trials, seed=seed, **of_oracle)
        # KerasTuner's class sets it in its `__init__`, which is passed by.
        self.seed = oracle.seed
        Tuner.__init__(self, oracle, hypermodel, **of_tuner)
