"""The tuner of KerasTuner, repaired: how models are built and loaded."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial

from keras_ext.tuner._reporting_tuner import ReportingTuner
from keras_ext.tuner._roles import is_worker
from keras_ext.tuner._trial_backup import load_all


@contextmanager
def _garbage_is_of_trials() -> Iterator[None]:
    """Spares a collection what was there before, which is nearly all there is to visit.

    A million objects of TensorFlow and Keras take as long as half a trial.
    """
    if gc.get_freeze_count():
        yield  # somebody else has done so
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class BuildingTuner(ReportingTuner):
    """Builds models, with garbage collected once, and loads those of trials."""

    def _run_search(self, *args: object, **kwargs: object) -> None:
        with _garbage_is_of_trials():
            super()._run_search(*args, **kwargs)

    def _populate_initial_space(self) -> None:
        if is_worker():
            return  # the chief knows
        # KerasTuner builds a model for each condition, to find what is under it.
        if getattr(self.hypermodel, "is_declared", False):
            hp = self.oracle.get_space()
            self.hypermodel.declare_hyperparameters(hp)
            self.oracle.update_space(hp)
        elif self.oracle.allow_new_entries:
            super()._populate_initial_space()

    def _configure_tensorboard_dir(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        trial: Trial,
        execution: int = 0,
    ) -> None:
        # KerasTuner imports tensorboard for every trial, which TensorFlow does not
        # bring along since 2.21.
        if any(type(callback).__name__ == "TensorBoard" for callback in callbacks):
            super()._configure_tensorboard_dir(callbacks, trial, execution)

    def _try_build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        # `free_memory` would collect garbage, which comes next.
        keras.utils.clear_session(free_memory=False)
        gc.collect()
        model = self._build_hypermodel(hp)
        if not isinstance(model, keras.Model):
            raise keras_tuner.errors.FatalTypeError(
                "`hypermodel` must return a keras.Model. Received: a "
                f"{type(model).__name__}."
            )
        sizes = [np.prod(w.shape) for w in model.trainable_weights if model.built]
        if self.max_model_size and sum(sizes) > self.max_model_size:
            raise keras_tuner.errors.FailedTrialError(
                f"Oversized model: {int(sum(sizes))} parameters. Skip model."
            )
        return model

    def load_model(self, trial: Trial) -> keras.Model:
        model = self._try_build(trial.hyperparameters)
        path = self._get_checkpoint_fname(trial.trial_id)
        if not os.path.exists(path):
            raise FileNotFoundError(
                f"The weights of trial {trial.trial_id} are not there: {path}. "
                "`disk_quota` removes those of the worst trials."
            )
        with keras_tuner.engine.tuner.maybe_distribute(self.distribution_strategy):
            load_all(model, path, self._get_build_config_fname(trial.trial_id))
        return model
