"""Trials that Ray Tune proposes, runs and stops, on a cluster that is there already."""

import copy
import importlib
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner
import optuna
from keras_tuner import Objective

from keras_ext._core._checks import require
from keras_ext._core._described import Described
from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Data, Logs, Record
from keras_ext.tuner._cost import measuring
from keras_ext.tuner._drop_ins import Builder
from keras_ext.tuner._objectives import objective_of, require_single
from keras_ext.tuner._optuna_space import Translation, translated
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._project_files import read_json, write_json
from keras_ext.tuner._trial_backup import TrialBackup, load_all
from keras_ext.tuner._tuner import Tuner, takes_keyword

if TYPE_CHECKING:
    from ray import tune

_BEST, _BUILD, _VALUES = "best.weights.h5", "build_config.json", "values.json"
# Sends what an epoch has logged, and the folder to go on from.
Report = Callable[[dict[str, float], str], None]


class RayTrials(Described):
    """A hypermodel as Ray Tune runs it: a search space and a trainable.

    For those who have a cluster of Ray; on one machine `keras_ext.tuner.launch` needs
    less. Ray proposes the values, stops trials and restarts those whose process was
    lost; each epoch is reported with a checkpoint of weights, optimizer and callbacks,
    from which a trial goes on at the next epoch. Where a trial goes on from another
    one's checkpoint with other values, as in population based training, the new
    learning rate counts, and not the one that was saved.

    Ray knows no conditions: it draws a value for each hyperparameter, and those that a
    configuration does not have are ignored.

    Args:
        hypermodel: Function from `keras_tuner.HyperParameters` to a compiled model, or
            a `keras_tuner.HyperModel`. Its `fit` has to take `initial_epoch` for a
            trial to go on; otherwise it starts over.
        objective: What is logged, as `"val_accuracy"`, or a `keras_tuner.Objective`:
            by it the best epoch is chosen.
        hyperparameters: A `keras_tuner.HyperParameters` with what is declared in
            advance. None means nothing.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> def build(hp):
        ...     width = hp.Int("width", 8, 64, step=8)
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(width)])
        ...     rate = hp.Float("learning_rate", 1e-4, 0.1, sampling="log")
        ...     model.compile(keras.optimizers.Adam(rate), "mse")
        ...     return model
        >>> trials = kx.tuner.RayTrials(build, "val_loss")
        >>> trials.to_hyperparameters({"width": 16, "learning_rate": 0.01}).values
        {'width': 16, 'learning_rate': 0.01}

        With Ray, `ray.tune.Tuner(trials.trainable(x, y, validation_split=0.2),
        param_space=trials.space(), tune_config=ray.tune.TuneConfig(metric="val_loss",
        mode="min", num_samples=20)).fit()` runs 20 of them.

    References:
        - [Liaw et al., 2018](https://arxiv.org/abs/1807.05118)
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Builder,
        objective: str | Objective,
        *,
        hyperparameters: keras_tuner.HyperParameters | None = None,
    ) -> None:
        require(objective is not None, "objective", objective, "what is logged")
        self.objective = objective_of(require_single(objective))
        oracle = Oracle(self.objective, hyperparameters=hyperparameters)
        # A tuner finds what there is under conditions, and writes files.
        with tempfile.TemporaryDirectory() as folder:
            self.hypermodel = Tuner(oracle, hypermodel, directory=folder).hypermodel
        self._space = oracle.get_space()

    def space(self) -> dict[str, "tune.search.sample.Domain"]:
        """What to search, as Ray has it: the `param_space` of `ray.tune.Tuner`.

        Returns:
            A dictionary from names to distributions of Ray. In names, a `.` stands for
            each `/`, at which Ray would cut them.

        Raises:
            ImportError: If Ray is not installed.
        """
        ray_tune = import_extra("ray.tune", "ray")
        return {name: _domain(part, ray_tune) for name, part in self._parts().items()}

    def trainable(
        self, *args: Data, **kwargs: object
    ) -> Callable[[dict[str, object]], None]:
        """What Ray runs for each configuration.

        Args:
            *args: Those of `fit`, which Ray hands to all processes.
            **kwargs: The others of `fit`, `callbacks` among them. Each trial gets
                copies of its own.

        Returns:
            A function for `ray.tune.Tuner`, also within `ray.tune.with_resources`.

        Raises:
            ImportError: If Ray is not installed.
        """
        ray_tune = import_extra("ray.tune", "ray")
        return ray_tune.with_parameters(trial, trials=self, given=(args, kwargs))

    def to_hyperparameters(
        self, config: Mapping[str, object]
    ) -> keras_tuner.HyperParameters:
        """The hyperparameters of a configuration, such as `result.config` of Ray."""
        found = keras_tuner.HyperParameters()
        names = {id(part.hp): name for name, part in self._parts().items()}
        for part in translated(self._space.space):
            hp = part.hp if isinstance(part, Translation) else part
            found.merge([hp])
            if not found.is_active(hp):
                continue
            if not isinstance(part, Translation):
                found.values[hp.name] = part.value
            elif names[id(hp)] in config:
                found.values[hp.name] = _value(part, config[names[id(hp)]])
        return found

    def best_model(self, result: "tune.Result") -> keras.Model:
        """The model of a trial with the weights of its best epoch.

        Args:
            result: A `ray.tune.Result`, such as `results.get_best_result(scope="all")`;
                the default of Ray judges trials by their last epoch.
        """
        require(
            getattr(result, "checkpoint", None) is not None,
            "result",
            result,
            "a result of Ray with a checkpoint, of a trial that ended an epoch",
        )
        model = self.hypermodel.build(self.to_hyperparameters(result.config))
        with result.checkpoint.as_directory() as folder:
            load_all(model, os.path.join(folder, _BEST), os.path.join(folder, _BUILD))
        return model

    def _parts(self) -> dict[str, Translation]:
        """By the names that Ray has for them, those that are searched."""
        parts: dict[str, Translation] = {}
        for part in translated(self._space.space):
            if isinstance(part, Translation):
                name = part.hp.name.replace("/", ".")
                # The same name may be there again under other conditions.
                same = sum(p.hp.name == part.hp.name for p in parts.values())
                parts[f"{name}.{same + 1}" if same else name] = part
        return parts

    def run(
        self,
        config: Mapping[str, object],
        folder: str,
        report: Report,
        given: tuple[tuple[Data, ...], Record],
    ) -> None:
        """Trains a configuration; `trainable` calls it in a process of Ray.

        Args:
            config: The values by name.
            folder: Where to work. What is in it from a checkpoint is gone on from.
            report: What to tell of each epoch that has the objective: the logs, and
                the folder as it is then.
            given: The arguments of `fit`.
        """
        args, kwargs = given[0], dict(given[1])
        hp = self.to_hyperparameters(config)
        keras.utils.clear_session()
        model = self.hypermodel.build(hp)
        own = copy.deepcopy(kwargs.pop("callbacks", None) or [])
        backup = TrialBackup(
            trial_dir=folder,
            checkpoint=os.path.join(folder, _BEST),
            objective=self.objective,
            every_epoch=True,
        )
        backup.begin_execution(own)
        if takes_keyword(self.hypermodel.fit, "initial_epoch"):
            kwargs["initial_epoch"] = _go_on(model, backup, hp.values, folder)
        else:
            backup.remove()
        write_json(os.path.join(folder, _VALUES), hp.values)
        callbacks = [*measuring([self.objective]), *own, backup]
        callbacks.append(_Reports(self.objective, folder, report))
        self.hypermodel.fit(hp, model, *args, callbacks=callbacks, **kwargs)


def _go_on(model: keras.Model, backup: TrialBackup, values: Record, folder: str) -> int:
    """Loads the last epoch, if there is one, and says which is the next."""
    rate = getattr(getattr(model, "optimizer", None), "learning_rate", None)
    new = float(rate) if isinstance(rate, keras.Variable) else None
    start = backup.restore(model)
    # The saved rate is that of other values; one that moved by itself stays.
    if start and new is not None and read_json(os.path.join(folder, _VALUES)) != values:
        model.optimizer.learning_rate = new
    return start


class _Reports(keras.callbacks.Callback):
    """Tells of each epoch; the last of the callbacks, when all is saved."""

    def __init__(self, objective: Objective, folder: str, report: Report) -> None:
        super().__init__()
        self._objective, self._folder, self._report = objective, folder, report

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        # With `validation_freq`, some epochs have nothing to be compared by.
        if self._objective.has_value(values):
            self._report({**values, "epoch": epoch + 1}, self._folder)
        if math.isnan(values.get("loss", 0.0)):
            self.model.stop_training = True


def trial(
    config: dict[str, object],
    trials: RayTrials,
    given: tuple[tuple[Data, ...], Record],
) -> None:
    """Trains a configuration in a process of Ray, which shows the name of this."""
    ray_tune = importlib.import_module("ray.tune")

    def report(values: dict[str, float], folder: str) -> None:
        checkpoint = ray_tune.Checkpoint.from_directory(folder)
        ray_tune.report(values, checkpoint=checkpoint)

    with tempfile.TemporaryDirectory() as folder:
        before = ray_tune.get_checkpoint()
        if before is not None:
            before.to_directory(folder)
        trials.run(config, folder, report, given)


def _domain(part: Translation, ray_tune: Any) -> Any:
    kind = part.distribution
    if part.values is not None:
        return ray_tune.choice(part.values)
    if isinstance(kind, optuna.distributions.CategoricalDistribution):
        return ray_tune.choice(list(kind.choices))
    if isinstance(kind, optuna.distributions.IntDistribution):
        draw = ray_tune.lograndint if kind.log else ray_tune.randint
        return draw(kind.low, kind.high + 1)  # Ray leaves out the last
    draw = ray_tune.loguniform if kind.log else ray_tune.uniform
    return draw(kind.low, kind.high)


def _value(part: Translation, value: Any) -> Any:
    """As the hypermodel has it: Ray draws numbers of NumPy, too."""
    value = value.item() if hasattr(value, "item") else value
    return value if part.values is not None else part.from_optuna(value)
