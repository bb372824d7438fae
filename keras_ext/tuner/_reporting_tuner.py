"""The tuner of KerasTuner, and what a person sees of a search."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras_tuner

from keras_ext._core._described import Described
from keras_ext._core._typing import Figure
from keras_ext.tuner._as_study import study_of
from keras_ext.tuner._chief import Chief
from keras_ext.tuner._progress import Progress
from keras_ext.tuner._records import frame_of
from keras_ext.tuner._report import draw, write_report
from keras_ext.tuner._roles import chief_address, is_chief, is_worker, lease

if TYPE_CHECKING:
    import optuna
    import pandas


class ReportingTuner(Described, keras_tuner.Tuner):
    """Shows a search while it runs, and tells of it when it has ended."""

    progress = False
    oracle: Any  # an `Oracle`; in a worker, a `RemoteOracle`

    def search(self, *args: object, **kwargs: object) -> None:
        if not self.progress or not self.is_chief:
            self._run_search(*args, **kwargs)
            return
        # Keras's own bars would write into the picture.
        kwargs.setdefault("verbose", 0)
        shown = Progress(self.oracle)
        self.oracle.watch(shown)
        shown.open()
        try:
            self._run_search(*args, **kwargs)
        finally:
            shown.close()

    def _run_search(self, *args: object, **kwargs: object) -> None:
        """Searches, or has workers search and returns when they have ended."""
        if not is_chief():
            super().search(*args, **kwargs)
            return
        self.oracle.verbose = kwargs.get("verbose", 1)
        self.save()
        name = str(self.project_name)
        Chief(self.oracle, address=chief_address(), name=name, lease=lease()).run()
        self.save()

    @property
    def is_chief(self) -> bool:
        """Whether this process has the whole search: no worker of another one."""
        return not is_worker()

    def report(
        self,
        path: str | Path,
        *,
        title: str = "Search",
        max_trials: int = 200,
    ) -> None:
        """Writes what was found as one HTML file, with everything in it.

        The best trial, learning curves with those that were stopped, how many epochs
        were saved, which hyperparameters matter (fANOVA of Optuna; PED-ANOVA where
        scikit-learn is not installed), where each of them is good, parallel
        coordinates, the Pareto front of several objectives, and a table of all trials
        with the reasons why some have failed. It may be called while the search runs,
        or on a search that was opened again.

        Args:
            path: Where to write it, such as `"report.html"`.
            title: The title of the page. Defaults to `"Search"`.
            max_trials: Integer >= 1, how many trials the table has. Defaults to `200`.

        Raises:
            ValueError: If an argument is not of this form, or no trial has a score yet.
        """
        write_report(self, path, title=title, max_trials=max_trials)

    def plot(self) -> Figure:
        """Draws the search: the curve of each trial over its epochs.

        The best trial is orange; a dot ends one that was stopped, a cross one that has
        failed. With several objectives these are drawn against each other, with the
        Pareto front, and without epochs the best score so far.

        Returns:
            A figure of Matplotlib, which pyplot does not keep open.

        Raises:
            ValueError: If no trial has a score yet.
            ImportError: If Matplotlib is not installed.
        """
        return draw(self)

    def to_dataframe(self) -> "pandas.DataFrame":
        """The trials as a `pandas.DataFrame`, best first.

        Returns:
            A row for each trial: `trial`, `status` (`"completed"`, `"stopped"`,
            `"failed"` or `"running"`), `score`, `best_epoch` and `epochs` (counted from
            1), `seconds`, `reason`, the metrics at the epoch of the score as
            `metric.val_loss`, the hyperparameters as `hp.width`.

        Raises:
            ImportError: If pandas is not installed.
        """
        return frame_of(self.oracle)

    def to_study(
        self,
        storage: "str | os.PathLike[str] | optuna.storages.BaseStorage | None" = None,
        *,
        name: str = "search",
    ) -> "optuna.Study":
        """The trials as a study of Optuna, for its plots and its dashboard.

        With a path, `optuna-dashboard PATH` opens it. A later call replaces it.

        Args:
            storage: The path of a journal file, the URL of a database, a storage of
                Optuna, or None for a study in memory.
            name: The name of the study. Defaults to `"search"`.

        Returns:
            An `optuna.Study`. Trials that were stopped are pruned there.

        Raises:
            ValueError: If an argument is none of these.
        """
        return study_of(self.oracle, storage=storage, name=name)
