"""A hypermodel made of spaces."""

import copy
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner

from keras_ext._anatomy._moving_norms import moving_norms
from keras_ext._core._checks import require
from keras_ext._core._described import Described
from keras_ext._core._typing import Data, Record
from keras_ext.callbacks.regularization._recalibrate_batch_norm import (
    RecalibrateBatchNorm,
)
from keras_ext.optimizers.wrappers._lookahead import Lookahead
from keras_ext.optimizers.wrappers._schedule_free import ScheduleFree
from keras_ext.tuner._drop_ins import Builder
from keras_ext.tuner.spaces._optimization import Optimization
from keras_ext.tuner.spaces._training import Training


class SpaceModel(Described, keras_tuner.HyperModel):
    """A hypermodel made of a network, an optimization and a training to search.

    It declares all hyperparameters before the search: a tuner of `keras_ext` builds no
    model to find them.

    Args:
        network: A space of `keras_ext.tuner.spaces` such as `mlp`, or a function of
            `hp` that returns a model that is not compiled.
        optimization: What `keras_ext.tuner.spaces.optimization` returns.
        training: What `keras_ext.tuner.spaces.training` returns, with one number of
            epochs for a search that says itself how long trials are, as `BOHB` and
            `Hyperband`. None means that `search` is given `batch_size` and `epochs`,
            and the optimization its `total_steps`.
        **options: Arguments of `compile`: `loss`, `metrics` and others. Each model gets
            copies of its own.

    Raises:
        ValueError: If an argument is not of this form, or schedules have no number of
            steps.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(64, 4))
        >>> hypermodel = kx.tuner.SpaceModel(
        ...     kx.tuner.spaces.mlp((4,), 1, parameter_budget=200),
        ...     kx.tuner.spaces.optimization(),
        ...     kx.tuner.spaces.training(48, batch_size=(16, 48), epochs=1),
        ...     loss="mse",
        ...     run_eagerly=True,  # quicker for one epoch
        ... )
        >>> oracle = kx.tuner.OptunaOracle("val_loss", 1, seed=0)
        >>> search = kx.tuner.Tuner(oracle, hypermodel, directory=tempfile.mkdtemp())
        >>> len(oracle.get_space().space)  # no model was built
        17
        >>> search.search(x, x[:, :1], validation_split=0.25, verbose=0)
        >>> [trial.status for trial in oracle.trials.values()]
        ['COMPLETED']
    """

    def __init__(
        self,
        network: Builder,
        optimization: Optimization,
        training: Training | None = None,
        **options: object,
    ) -> None:
        super().__init__()
        require(callable(network), "network", network, "a space or a function of hp")
        for name, space, kind in (
            ("optimization", optimization, Optimization),
            ("training", training, Training | None),
        ):
            rule = f"what keras_ext.tuner.spaces.{name} returns"
            require(isinstance(space, kind), name, space, rule)
        if training is None:
            # Later it would fail in each trial.
            optimization.require_total_steps()
        self.network = network
        self.optimization = optimization
        self.training = training
        self.options = options

    @property
    def is_declared(self) -> bool:
        """Whether no model has to be built to find all hyperparameters."""
        return hasattr(self.network, "declare")

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        spaces: tuple[object, ...] = (self.network, self.optimization, self.training)
        for space in spaces:
            if hasattr(space, "declare"):
                space.declare(hp)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        model = self.network(hp)
        # Each model has its own metrics, which count.
        model.compile(self._optimizer(hp), **copy.deepcopy(self.options))
        return model

    def _optimizer(self, hp: keras_tuner.HyperParameters) -> keras.Optimizer:
        if self.training is None:
            return self.optimization(hp)
        return self.optimization(
            hp,
            self.training.total_steps(hp),
            accumulation_steps=self.training.accumulation(hp),
        )

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *args: Data,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        if self.training is not None:
            self._require_room(kwargs)
            # What a search says of epochs, it knows better.
            kwargs = {**self.training(hp), **kwargs}
            kwargs["batch_size"] = self.training(hp)["batch_size"]
        # Before those of the tuner, which save what the others know.
        callbacks = [
            *self.optimization.callbacks(hp, kwargs.get("batch_size")),
            *_recalibrated(model, args, kwargs),
            *kwargs.pop("callbacks", []),
        ]
        return super().fit(hp, model, *args, callbacks=callbacks, **kwargs)

    def _require_room(self, kwargs: Record) -> None:
        """Ends a search that says itself what the space says, or searches."""
        hint = "Leave it out, or make the model without `training`."
        low, high = self.training.epochs if self.training else (1, 1)
        try:
            given = kwargs.get("batch_size")
            require(given is None, "batch_size", given, "left to the space", hint)
            given = kwargs.get("epochs")
            rule = f"left to the space, which searches {low} to {high}"
            hint = "A search that says how long gets a space with one number."
            require(given is None or low == high, "epochs", given, rule, hint)
        except ValueError as error:
            # All trials would fail alike.
            raise keras_tuner.errors.FatalValueError(str(error)) from None


def _recalibrated(
    model: keras.Model, args: Sequence[Data], kwargs: Record
) -> list[keras.callbacks.Callback]:
    """What statistics need that are not of the weights that are evaluated."""
    averages = isinstance(model.optimizer, Lookahead | ScheduleFree)
    if not averages or not moving_norms(model):
        return []
    given = dict(zip(("x", "y"), args, strict=False)) | kwargs
    x, y, held_out = given.get("x"), given.get("y"), given.get("validation_split")
    if held_out:  # `fit` validates with the last rows
        last = int(len(keras.tree.flatten(x)[0]) * (1 - held_out))
        x = keras.tree.map_structure(lambda part: part[:last], x)
        y = None if y is None else keras.tree.map_structure(lambda p: p[:last], y)
    if y is not None or hasattr(x, "shape"):  # labels do not matter here
        return [RecalibrateBatchNorm((x, x if y is None else y), every_epochs=1)]
    return [RecalibrateBatchNorm(x, every_epochs=1)]
