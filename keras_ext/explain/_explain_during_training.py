"""Watches what a model rests on while it learns."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from keras_ext._core._checks import integer, require
from keras_ext._core._figures import FAINT, INK, plain
from keras_ext._core._typing import Data, Explanation, Figure, Logs, Record
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext.explain._arguments import number_or_auto
from keras_ext.explain._drawing import colormap, drawing
from keras_ext.explain._explainer import Explainer
from keras_ext.explain._values import by_player


class ExplainDuringTraining(CopyableCallback):
    """Explains some rows again and again during `fit`, and records what matters.

    The importance of a player, a feature or a group, is the mean absolute value over
    all rows and outputs. It shows when features come in, that one goes on to grow while
    the loss no longer falls, or that a leaked one takes over.

    Logs `importance_<name>` of the players that mattered most when training began,
    after the first epoch of a `fit` and then after each `every_epochs`-th; so they are
    in `History`, too. Training itself is not changed.

    Args:
        x: The rows to explain, as the model takes them. Some dozens are enough.
        background: The rows that they are compared with, as for `Explainer`.
        every_epochs: Integer >= 1, the epochs between two explanations. Defaults to
            `1`.
        budget: About how many evaluations of the model a row may take, or `"auto"`.
            Defaults to `"auto"`.
        num_logged: Integer >= 0, how many players are in the logs; all are in
            `history`. Defaults to `5`.
        **kwargs: What else `Explainer` takes, such as `method`, `outputs` and `groups`.

    Attributes:
        history: What was recorded in the present or last `fit`: `"players"`, the names;
            `"epoch"`, the `T` epochs, counted from 0 as Keras does; and `"importance"`,
            an array `(T, players)`.
        explanation: The last `shap.Explanation`, or None.

    Raises:
        ValueError: If an argument is not of this form; when training begins, if the
            explainer cannot explain this model.
        ImportError: If shap is not installed, when the first epoch ends.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> watch = kx.explain.ExplainDuringTraining(x[:8], x[:20], every_epochs=2)
        >>> history = model.fit(x, x[:, 1], epochs=4, callbacks=[watch], verbose=0)
        >>> watch.history["epoch"], watch.history["importance"].shape
        (array([0, 1, 3]), (3, 3))
    """

    remembered: ClassVar[tuple[str, ...]] = ("_epochs", "_importances")

    def __init__(
        self,
        x: Data,
        background: Data,
        *,
        every_epochs: int = 1,
        budget: int | str = "auto",
        num_logged: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        for name, rows in (("x", x), ("background", background)):
            require(_may_be_rows(rows), name, rows, "rows as the model takes them")
        number_or_auto(budget, "budget")
        # Without the first two, the model and the background, which are not chosen
        # here.
        known = list(inspect.signature(Explainer).parameters)[2:]
        rule = f"arguments of Explainer, {known}"
        require(set(kwargs) <= set(known), "kwargs", list(kwargs), rule)
        self.x = x
        self.background = background
        self.every_epochs = integer(every_epochs, "every_epochs", low=1)
        self.budget = budget
        self.num_logged = integer(num_logged, "num_logged", low=0)
        self.kwargs = kwargs
        self.explanation: Explanation | None = None
        self._players: list[str] = []
        self._epochs: list[int] = []
        self._importances: list[np.ndarray] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        # Made anew for each `fit`: the model may be another one.
        self._explainer = Explainer(self.model, self.background, **self.kwargs)
        self._players = list(self._explainer._problem.players.names)
        self._epochs, self._importances = [], []
        self.explanation = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        # The first epoch always counts: `_logged` chooses by it.
        if self._epochs and (epoch + 1) % self.every_epochs:
            return
        self.explanation = self._explainer(
            self.x, budget=self.budget, show_progress=False
        )
        values = by_player(self.explanation)
        self._epochs.append(epoch)
        self._importances.append(np.abs(values).mean(axis=(0, 2)))
        if logs is not None:
            logs.update(self._logged())

    def _logged(self) -> dict[str, float]:
        # The same ones in all epochs.
        first = np.argsort(-self._importances[0], kind="stable")[: self.num_logged]
        last = self._importances[-1]
        return {f"importance_{self._players[i]}": float(last[i]) for i in first}

    @property
    def history(self) -> Record:
        """What was recorded."""
        shape = (len(self._epochs), len(self._players))
        return {
            "players": list(self._players),
            "epoch": np.array(self._epochs, int),
            "importance": np.reshape(self._importances, shape),
        }

    def plot(self, path: str | Path | None = None, top: int = 8) -> Figure:
        """Draws the importances over the epochs.

        Args:
            path: Where to save the picture. None means nowhere.
            top: How many players have a color and a name, those that mattered most in
                any epoch. Defaults to 8.

        Returns:
            A Matplotlib figure, which pyplot does not keep open.

        Raises:
            ValueError: If nothing was explained yet.
        """
        hint = "Nothing was explained: pass the callback to a `fit` before."
        rule = "with an explanation or more"
        require(self.explanation is not None, "history", "0 epochs", rule, hint)
        figure = _draw(self.history, top)
        if path is not None:
            figure.savefig(path)
        return figure


def _draw(history: Record, top: int) -> Figure:
    figure, axes = drawing(size=(8, 4))
    epochs, importance = history["epoch"] + 1, history["importance"]
    order = np.argsort(-importance.max(axis=0, initial=0.0), kind="stable")
    for i in order[top:]:
        axes.plot(epochs, importance[:, i], color=FAINT, linewidth=0.7, alpha=0.5)
    colors = colormap("tab10")
    # In the order in which the lines end.
    last = importance[-1]
    for place, i in enumerate(sorted(order[:top], key=lambda i: -last[i])):
        axes.plot(
            epochs,
            importance[:, i],
            color=colors(place % 10),
            linewidth=1.8,
            marker="o",
            markersize=3.5 if len(epochs) <= 50 else 0,
            label=plain(history["players"][i]),
        )
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylabel("mean |value|", color=INK)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(colors=INK, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _may_be_rows(rows: Data) -> bool:
    """Whether these are data at all; the model that takes them is not known yet."""
    if isinstance(rows, list | tuple | dict):
        leaves = keras.tree.flatten(rows)
        return bool(leaves) and all(leaf is not None for leaf in leaves)
    shape = getattr(rows, "shape", None)
    if isinstance(shape, tuple):
        return len(shape) > 0 and shape[0] != 0
    no_data = (str, bytes, set, type, Iterator)
    return hasattr(rows, "__iter__") and not isinstance(rows, no_data)
