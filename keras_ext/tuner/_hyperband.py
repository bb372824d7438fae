"""Search that trains many configurations briefly, and the best of them on."""

import keras
import keras_tuner
from keras_tuner.oracles import HyperbandOracle as KerasTunerOracle

from keras_ext._core._checks import integer
from keras_ext.tuner._drop_ins import Builder, split
from keras_ext.tuner._objectives import require_single
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._trial_backup import last_weights, load_all
from keras_ext.tuner._tuner import Tuner


class HyperbandOracle(Oracle, KerasTunerOracle):
    """Brackets of successive halving."""

    takes_points = False


class Hyperband(Tuner, keras_tuner.Hyperband):
    """Trains on what promises most: `keras_tuner.Hyperband`, repaired.

    Brackets of successive halving: many configurations for a few epochs, the best of
    each round for `factor` times as many. A trial that is promoted goes on from the
    last epoch of the one before, with the state of its optimizer and of its callbacks;
    in KerasTuner it begins with a new optimizer, its learning rate included, at the
    best epoch. See `Tuner` and `Oracle` for what differs otherwise.

    Args:
        hypermodel: Function from `keras_tuner.HyperParameters` to a compiled model, or
            a `keras_tuner.HyperModel`. None if a subclass overrides `run_trial`.
        objective: What is logged, as `"val_accuracy"`, a `keras_tuner.Objective`, or
            None for the number that is returned.
        max_epochs: Integer >= 1, the epochs of the longest training. Defaults to `100`.
        factor: Integer >= 2, by how much a round reduces the number of trainings and
            lengthens them. Defaults to `3`.
        hyperband_iterations: Integer >= 1, how often all brackets are run. Defaults to
            `1`.
        seed: Integer, the seed of all draws. None means random.
        **kwargs: Other arguments of `Oracle` and `Tuner`, such as `time_budget`,
            `directory`, `project_name`, `overwrite`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import tempfile
        >>> import keras_tuner
        >>> import keras_ext as kx
        >>> class Curve(kx.tuner.Hyperband):
        ...     def run_trial(self, trial, **kwargs):
        ...         hp = trial.hyperparameters
        ...         return hp.get("x") + 1 / hp.get("tuner/epochs")
        >>> space = keras_tuner.HyperParameters()
        >>> _ = space.Float("x", 0.0, 1.0)
        >>> folder = tempfile.mkdtemp()
        >>> search = Curve(
        ...     max_epochs=9, seed=0, hyperparameters=space, directory=folder
        ... )
        >>> search.search(verbose=0)
        >>> search.oracle.get_best_trials()[0].hyperparameters.get("tuner/epochs")
        9

    References:
        - [Li et al., 2018](https://arxiv.org/abs/1603.06560)
    """

    keeps_last_epoch = True

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Builder | None = None,
        objective: str | keras_tuner.Objective | None = None,
        max_epochs: int = 100,
        *,
        factor: int = 3,
        hyperband_iterations: int = 1,
        seed: int | None = None,
        **kwargs: object,
    ) -> None:
        of_oracle, of_tuner = split(kwargs)
        oracle = HyperbandOracle(
            require_single(objective),
            max_epochs=integer(max_epochs, "max_epochs", low=1),
            factor=integer(factor, "factor", low=2),
            hyperband_iterations=integer(
                hyperband_iterations, "hyperband_iterations", low=1
            ),
            seed=seed,
            **of_oracle,
        )
        Tuner.__init__(self, oracle, hypermodel, **of_tuner)

    def _build_hypermodel(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        # Past the one of `keras_tuner.Hyperband`, which loads weights into a model
        # whose optimizer is not built.
        model = keras_tuner.Tuner._build_hypermodel(self, hp)
        parent = hp.values.get("tuner/trial_id")
        if parent is not None:
            path = last_weights(self.get_trial_dir(parent))
            # Without backups the best epoch is all that there is.
            path = path or self._get_checkpoint_fname(parent)
            with keras_tuner.engine.tuner.maybe_distribute(self.distribution_strategy):
                load_all(model, path, self._get_build_config_fname(parent))
        return model
