"""The search to begin with: a model that proposes, and a rule that stops."""

from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial

from keras_ext._core._checks import integer
from keras_ext.tuner._asha import ASHA
from keras_ext.tuner._drop_ins import Builder, split
from keras_ext.tuner._gaussian_process_oracle import GaussianProcessOracle
from keras_ext.tuner._objectives import require_single
from keras_ext.tuner._results import Result
from keras_ext.tuner._tuner import Tuner

_FEWEST = 9


class BOHB(Tuner):
    """Proposes by `GaussianProcessOracle`, stops by `ASHA`: the search to begin with.

    This is the idea of BOHB with other parts: a Gaussian process of configurations and
    epochs proposes, and learns from trials that asynchronous successive halving has
    stopped inside `fit`. Trainings shorter than 9 epochs are not stopped: there is
    little to save. With many hundred trials, or where trials take less than a second,
    `Tuner` with an `OptunaOracle` and an `ASHA` proposes faster.

    Args:
        hypermodel: Function from `keras_tuner.HyperParameters` to a compiled model, or
            a `keras_tuner.HyperModel`. None if a subclass overrides `run_trial`.
        objective: What is logged, as `"val_accuracy"`, a `keras_tuner.Objective`, or
            None for the number that is returned.
        max_trials: Integer >= 1 or None, how many configurations are tried. Defaults to
            `50`.
        max_epochs: Integer >= 1, the epochs of a training that is not stopped: what
            `search` gives to `fit` as `epochs` unless it is told others. Defaults to
            `27`.
        factor: Integer >= 2, one in how many goes on at a rung. Defaults to `3`.
        seed: Integer, the seed of all draws. None means random.
        **kwargs: Other arguments of `Oracle` and `Tuner`, such as `time_budget`,
            `directory`, `project_name`, `overwrite`.

    Raises:
        ImportError: If scipy is not installed.
        ValueError: If an argument is out of range.

    Examples:
        >>> import tempfile
        >>> import keras
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(64, 4))
        >>> def build(hp):
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        ...     rate = hp.Float("learning_rate", 1e-4, 1.0, sampling="log")
        ...     model.compile(keras.optimizers.SGD(rate), "mse")
        ...     return model
        >>> search = kx.tuner.BOHB(
        ...     build, "loss", 5, max_epochs=9, seed=0, directory=tempfile.mkdtemp()
        ... )
        >>> search.search(x, x.sum(axis=1, keepdims=True), verbose=0)
        >>> trials = search.oracle.trials.values()
        >>> epochs = [len(t.metrics.get_history("loss")) for t in trials]
        >>> max(epochs), sum(epochs) < 45
        (9, True)

    References:
        - [Falkner et al., 2018](https://arxiv.org/abs/1807.01774)
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Builder | None = None,
        objective: str | keras_tuner.Objective | None = None,
        max_trials: int | None = 50,
        *,
        max_epochs: int = 27,
        factor: int = 3,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        self.max_epochs = integer(max_epochs, "max_epochs", low=1)
        asha = ASHA(factor=factor)
        of_oracle, of_tuner = split(kwargs)
        of_oracle.setdefault("scheduler", asha if max_epochs >= _FEWEST else None)
        single = require_single(objective)
        oracle = GaussianProcessOracle(single, max_trials, seed=seed, **of_oracle)
        Tuner.__init__(self, oracle, hypermodel, **of_tuner)

    def run_trial(
        self, trial: Trial, *args: object, **kwargs: Any
    ) -> Result | list[Result] | None:
        kwargs.setdefault("epochs", self.max_epochs)
        return super().run_trial(trial, *args, **kwargs)
