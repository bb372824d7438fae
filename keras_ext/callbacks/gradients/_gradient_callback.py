"""The base of the callbacks that need the gradient."""

from keras_ext._core._checks import choice
from keras_ext._core._typing import Logs
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext.callbacks._announcement import tell

_BATCHES_BETWEEN_CHECKS = 50


class GradientCallback(ScopedCallback):
    """Puts a `GradientPipeline` around the optimizer of the model during `fit`.

    Callbacks of this kind share one pipeline. When training ends, in whatever way, the
    model has the optimizer that it was compiled with, with its state advanced. A
    subclass overrides `install` to add its transforms and signals, and calls the hooks
    of this class if it overrides them.

    Logs `nonfinite_steps`, the number of updates skipped so far; a line reports new
    ones, unless `fit` gets `verbose=0`. Loss and metrics are those of the other
    updates, and NaN in an epoch without any.

    Args:
        nonfinite: What to do about an update whose gradient is NaN or infinite:
            `"skip"` leaves it out; `"raise"` also ends the training, at the next look
            (every 50 batches and at the end of the epoch), and says which weight it
            began with, see `SkipNonFinite`; `"recover"` leaves it out and, if more than
            ten in a row were, takes weights, optimizer and statistics of layers back to
            the last look at which all was well, or to where `fit` began, halves the
            learning rate, warns, and goes on, up to five times. Schedules remain halved
            until `fit` ends, also that of a `LearningRateScheduler`; another callback
            that sets the rate does not know of it. Defaults to `"skip"`.

    Raises:
        ValueError: If `nonfinite` is something else, or, when training begins, if the
            model has no optimizer or does not use it.
        FloatingPointError: With `"raise"`, if a gradient was not finite; with
            `"recover"`, if that did not help.
    """

    compiled = frozenset({"nonfinite"})

    def __init__(self, *, nonfinite: str = "skip") -> None:
        super().__init__()
        self.nonfinite = choice(nonfinite, "nonfinite", ("skip", "raise", "recover"))

    def install(self, pipeline: AttachedPipeline) -> None:
        """Adds what this callback needs to the pipeline."""
        raise NotImplementedError(f"{type(self).__name__} must override install().")

    def attach(self, scope: FitScope) -> None:
        self.pipeline = AttachedPipeline.of(scope)
        if self.nonfinite == "raise":
            self.pipeline.forbid_nonfinite()
        elif self.nonfinite == "recover":
            self.pipeline.recover_from_nonfinite()
        self.install(self.pipeline)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self.pipeline.begin()

    # What is to be done between batches is done before a batch and not after one: if a
    # callback has `on_train_batch_end`, Keras fetches the metrics after every step, and
    # the device waits meanwhile.
    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if batch == 0:
            self._checked = 0
            self.pipeline.begin_epoch()
        # With `steps_per_execution` not every number comes up.
        if batch - self._checked >= _BATCHES_BETWEEN_CHECKS:
            self.pipeline.check()
            self._checked = batch

    def before_epoch_end(self, epoch: int, logs: Logs) -> None:
        super().before_epoch_end(epoch, logs)
        self.pipeline.correct(logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["nonfinite_steps"] = self.pipeline.nonfinite_steps
        self._tell_left_out(epoch)
        self.pipeline.check()

    def _tell_left_out(self, epoch: int) -> None:
        """Once for all callbacks of the pipeline; loss scaling means to overflow."""
        if not getattr(self, "verbose", 1) or self.pipeline.scaler is not None:
            return
        count = self.pipeline.newly_left_out()
        if count:
            updates = "1 update" if count == 1 else f"{count} updates"
            tell(self, f"NaN or infinite gradients, {updates} left out", epoch=epoch)
