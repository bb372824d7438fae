"""The oracle of KerasTuner that several workers ask, each of which may be lost."""

from keras_ext.tuner._queued_oracle import QueuedOracle
from keras_ext.tuner._synchronized import synchronized

# So many workers end with the same trial before the trial is at fault.
MOST_LOSSES = 3


class SharedOracle(QueuedOracle):
    """Takes trials back from workers that are lost, and gives them to others."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._losses: dict[str, int] = {}

    @synchronized
    def release(self, tuner_id: str) -> str | None:
        """Takes the trial of a worker that is lost, for another to go on with.

        Returns:
            The name of the trial, or None if the worker had none.
        """
        self.tuner_ids.discard(tuner_id)
        trial = self.ongoing_trials.get(tuner_id)
        if trial is None:
            return None
        losses = self._losses.get(trial.trial_id, 0) + 1
        self._losses[trial.trial_id] = losses
        if losses >= MOST_LOSSES:
            trial.status = "FAILED"
            trial.message = (
                f"{losses} workers ended with this trial, as when memory is short."
            )
            self.end_trial(trial)
        else:
            self.ongoing_trials.pop(tuner_id)
            self._retry_queue.append(trial.trial_id)
            self.save()
        return str(trial.trial_id)

    @synchronized
    def belongs(self, trial_id: str, tuner_id: str) -> bool:
        """Whether a trial is that of a worker.

        One that nobody has becomes its own: the chief was started again while the
        worker trained.
        """
        trial = self.ongoing_trials.get(tuner_id)
        if trial is not None:
            return bool(trial.trial_id == trial_id)
        if trial_id not in self._retry_queue:
            return False
        self._retry_queue.remove(trial_id)
        trial = self.trials[trial_id]
        trial.status = "RUNNING"
        self.ongoing_trials[tuner_id] = trial
        self.tuner_ids.add(tuner_id)
        self._display.on_trial_begin(trial)
        return True

    def is_idle(self) -> bool:
        """Whether no trial is running."""
        return not self.ongoing_trials

    def progress_mark(self) -> tuple[int, ...]:
        """What changes when there may be something new to propose."""
        lists = (self.start_order, self.end_order, self.hyperparameters.space)
        return (*map(len, lists), len(self._retry_queue))
