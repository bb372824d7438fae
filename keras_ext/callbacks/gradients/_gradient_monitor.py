"""Shows what the gradients of each layer do."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keras_ext._core._checks import flag, integer, require
from keras_ext._core._paths import layer_path
from keras_ext._core._typing import Figure, Logs, Record, Shape
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext._keras._optimizer_family import updates_so_far
from keras_ext.callbacks._announcement import tell
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.callbacks.gradients._gradient_plot import draw
from keras_ext.callbacks.gradients._gradient_records import (
    Writer,
    joined_rows,
    open_writers,
)
from keras_ext.diagnostics._diagnose import recorded
from keras_ext.distribute._is_chief import is_chief
from keras_ext.signals.gradients._gradient_moments import GradientMoments
from keras_ext.signals.gradients._layer_statistics import (
    HISTOGRAM_EDGES,
    QUANTITIES,
    LayerStatistics,
)

# What the logs of an epoch have, and from which quantity.
_LOGGED = {
    "gradient_norm": "gradient_norm",
    "update_ratio": "update_ratio",
    "vanishing_ratio": "vanishing_ratio",
    "dead_fraction": "dead_fraction",
    "gradient_cosine": "cosine",
    "gradient_confusion": "confusion",
}
_LOGGED_MOMENTS = {
    "gradient_snr": "snr",
    "gradient_gsnr": "gsnr",
    "gradient_diversity": "diversity",
    "gradient_noise_scale": "noise_scale",
}
_MOMENTS = ("noise", "signal", "noise_scale", "snr", "gsnr", "diversity")
_LAYER_MOMENTS = ("noise", "signal", "noise_scale")
# More samples than that give the moments little.
_LARGEST_WINDOW = 16


class GradientMonitor(GradientCallback):
    """Records what the gradients of each layer do, and draws it.

    At the first update and then every `every` updates, it measures one row of numbers
    on the device, for each layer and for all layers together, and fetches it in one
    transfer. `keras_ext.signals.LayerStatistics` describes these numbers. Weights whose
    paths differ only in the last part form a layer. The numbers describe the gradient
    of the whole batch, summed over the replicas, before any clipping.
    `keras_ext.diagnostics.diagnose` says in words what is wrong with them.

    Logs of the last row, which one line says once if it is of an earlier epoch:
    `gradient_norm`, `update_ratio`, `dead_fraction`, `vanishing_ratio` (the gradient
    norm of the first layer with a kernel divided by that of the last),
    `gradient_cosine` and `gradient_confusion`; and `nonfinite_steps`, the updates left
    out so far. With `moments=True` also `gradient_snr`, `gradient_gsnr`,
    `gradient_diversity` and `gradient_noise_scale`.

    It does not see the clipping of a `GradientPipeline` that was passed to `compile`,
    which also must not accumulate: pass `LayerStatistics` as one of the `signals` of
    that pipeline instead.

    Args:
        every: Integer >= 1, the updates between two rows. Defaults to `50`.
        path: A file to write the rows to, one line for each layer and one for all of
            them, whose `layer` is empty. `.csv` is written as training goes on,
            `.parquet` at the end of each epoch. None means no file.
        tensorboard: A folder to write scalars, and histograms if there are any, to for
            TensorBoard; their step is the number of updates. None means none.
        histograms: Whether to also count the elements of the gradient by size.
            Defaults to `False`.
        moments: Whether to also measure noise and signal of the gradient with
            `keras_ext.signals.GradientMoments`, over up to 16 updates before each row.
            Defaults to `False`.
        append: Whether to add to files that exist, for a training that goes on, and
            not to replace them. Rows of updates that are made again are replaced.
            Defaults to `False`.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training, `"recover"` to go back to good weights,
            see `GradientCallback`. Defaults to `"skip"`.

    Attributes:
        history: What was recorded in the present or last `fit`, a dictionary with
            `"layers"`, the paths of the `L` layers; arrays `"update"` and `"epoch"` of
            the `T` rows; `"global"`, from quantity to an array of `T` numbers;
            `"per_layer"`, from quantity to an array of shape `(T, L)`;
            `"loss_is_scaled"`; and with `histograms=True` `"histograms"`, counts of
            shape `(T, L, 33)`, of elements that are zero and then of those between
            `"histogram_edges"`, which are base 10 logarithms. When no update was made
            because all gradients were NaN or infinite, there is a row of NaN with the
            count in `nonfinite`.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if the
            model has no optimizer, does not use it, or it accumulates gradients, or if
            a file to add to has other columns.
        ImportError: If `path` or `tensorboard` needs a package that is not installed.
        FloatingPointError: With `nonfinite="raise"`, if a gradient was not finite.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> layers = [keras.Input((2,)), *(keras.layers.Dense(1) for _ in range(2))]
        >>> model = keras.Sequential(layers)
        >>> model.compile(keras.optimizers.SGD(0.01), "mse")
        >>> monitor = kx.callbacks.GradientMonitor(every=5)
        >>> x, y = np.ones((10, 2)), np.ones((10, 1))
        >>> history = model.fit(
        ...     x, y, batch_size=1, callbacks=[monitor], verbose=0
        ... )
        >>> monitor.history["update"]
        array([ 1,  5, 10])
        >>> monitor.history["per_layer"]["gradient_norm"].shape
        (3, 2)
    """

    compiled = frozenset(
        {"every", "path", "tensorboard", "histograms", "moments", "append"}
    )
    remembered: ClassVar[tuple[str, ...]] = (
        "_layers",
        "_seen",
        "_nonfinite",
        "_next_look",
        "_loss_is_scaled",
    )

    def __init__(
        self,
        every: int = 50,
        *,
        path: str | Path | None = None,
        tensorboard: str | Path | None = None,
        histograms: bool = False,
        moments: bool = False,
        append: bool = False,
        nonfinite: str = "skip",
    ) -> None:
        super().__init__(nonfinite=nonfinite)
        for name, place, endings in (
            ("path", path, (".csv", ".parquet")),
            ("tensorboard", tensorboard, ()),
        ):
            valid = place is None or (
                isinstance(place, str | Path)
                and (not endings or Path(place).suffix in endings)
            )
            ends = f" ending in {' or '.join(endings)}" if endings else ""
            require(valid, name, place, f"a path{ends}, or None")
        self.every = integer(every, "every", low=1)
        self.path = path
        self.tensorboard = tensorboard
        self.histograms = flag(histograms, "histograms")
        self.moments = flag(moments, "moments")
        self.append = flag(append, "append")
        self._chunks: list[Record] = []
        self._layers: list[str] = []
        self._loss_is_scaled = False

    def install(self, pipeline: AttachedPipeline) -> None:
        inner = pipeline.inner_optimizer
        require(
            not (isinstance(inner, GradientPipeline) and inner.accumulates),
            "model.optimizer",
            inner,
            "one that does not accumulate gradients",
            hint="Here its micro-batches would be seen, and not its updates. Pass "
            "LayerStatistics() to its signals instead.",
        )
        # Several rows may end before the host looks again.
        rows = self.model.steps_per_execution // self.every + 3
        self._statistics = LayerStatistics(
            self.every,
            histograms=self.histograms,
            rows=rows,
        )
        pipeline.add_signal(self._statistics)
        self._moments: Any = None
        if self.moments:
            # A variance needs two of them.
            window = max(2, min(_LARGEST_WINDOW, self.every))
            self._moments = GradientMoments(window, every=self.every)
            pipeline.add_signal(self._moments)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._chunks = []
        self._writers: list[Writer] = []
        if is_chief():
            self._writers = open_writers(
                self.path, self.tensorboard, self.append, self._quantities()
            )
        self._seen = 0
        self._nonfinite = 0
        self._told_stale = False
        self._next_look = updates_so_far(self.pipeline) + 1

    def _quantities(self) -> tuple[str, ...]:
        """What is recorded of all layers together."""
        return (*QUANTITIES, "vanishing_ratio", *(_MOMENTS if self.moments else ()))

    def kind_of_state(self) -> Record:
        return {"every": self.every, "histograms": self.histograms}

    def get_state(self) -> Record:
        rows = joined_rows(self._chunks) if self._chunks else None
        return {**super().get_state(), "rows": rows}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        rows = state["rows"]
        if rows is not None:
            # Moments that there were none of, or are none of any more.
            names = (*QUANTITIES, *(_LAYER_MOMENTS if self.moments else ()))
            rows["global"] = _with_all(rows["global"], self._quantities())
            rows["per_layer"] = _with_all(rows["per_layer"], names)
        self._chunks = [] if rows is None else [rows]
        for writer in self._writers if rows is not None else ():
            writer.restore(rows)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch
        # Updates are counted on the host, as if each batch were one.
        self._updates_before = updates_so_far(self.pipeline)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        updates = self._updates_before + batch
        if updates >= self._next_look:
            self._look()
            self._next_look = (updates // self.every + 1) * self.every

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._look()
        self._tell_stale(epoch)
        for writer in self._writers:
            writer.flush()
        if logs is not None:
            logs.update(self._last_row())
        super().on_epoch_end(epoch, logs)

    def _tell_stale(self, epoch: int) -> None:
        """Once: the logs of an epoch without a row look as if nothing had changed."""
        updates = updates_so_far(self.pipeline) - self._updates_before
        stale = self._chunks and self._chunks[-1]["epoch"][-1] != epoch
        if self._told_stale or not stale or not updates:
            return
        self._told_stale = True
        tell(
            self,
            f"the {updates} updates of this epoch are fewer than every={self.every}, "
            "so its logs are those of an earlier one",
            epoch=epoch,
        )

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        for writer in self._writers:
            writer.close()

    def _look(self) -> None:
        """Fetches the rows that are new."""
        rows = self._statistics.read_rows(self._seen)
        self._layers = self._statistics.layers
        self._loss_is_scaled = self.pipeline.scaler is not None
        bad = rows["nonfinite"]
        if not len(rows["update"]) and bad[-1] > self._nonfinite:
            rows = _row_of_nan(rows, updates_so_far(self.pipeline))
        if not len(rows["update"]):
            return
        self._seen = rows["samples"]
        self._nonfinite = rows["global"]["nonfinite"][-1]
        if self._moments is not None:
            self._add_moments(rows)
        rows["epoch"] = np.full(len(rows["update"]), self._epoch)
        rows["layers"] = self._layers
        self._chunks.append(rows)
        for writer in self._writers:
            writer.write(rows)

    def _add_moments(self, rows: Record) -> None:
        """Adds the moments of the last full window to the last row."""
        read = self._moments.read()
        nothing = np.full(len(rows["update"]) - 1, np.nan)
        for name in _MOMENTS:
            rows["global"][name] = np.append(nothing, read["global"][name])
        sums = {
            name: np.zeros(len(self._layers)) + (0.0 if read["windows"] else np.nan)
            for name in ("noise", "signal")
        }
        for path, values in read["per_weight"].items():
            for name, row in sums.items():
                if layer_path(path) in self._layers:
                    row[self._layers.index(layer_path(path))] += values[name]
        # Moments add up over weights; their quotients do not.
        noise, signal = sums["noise"], sums["signal"]
        exists = (noise > 0) & (signal > 0)
        sums["noise_scale"] = np.where(
            exists, noise / np.where(exists, signal, 1.0), np.nan
        )
        nothing = np.full((len(rows["update"]) - 1, len(self._layers)), np.nan)
        for name in _LAYER_MOMENTS:
            rows["per_layer"][name] = np.concatenate([nothing, sums[name][None]])

    def _last_row(self) -> dict[str, float]:
        logged = {**_LOGGED, **(_LOGGED_MOMENTS if self.moments else {})}
        if not self._chunks:
            return dict.fromkeys(logged, float("nan"))
        last = self._chunks[-1]["global"]
        return {name: float(last[q][-1]) for name, q in logged.items()}

    @property
    def history(self) -> Record:
        """What was recorded."""
        of_layers = (*QUANTITIES, *(_LAYER_MOMENTS if self.moments else ()))
        num_layers = len(self._layers)
        history = {
            "layers": list(self._layers),
            "update": self._joined(lambda c: c["update"], (), int),
            "epoch": self._joined(lambda c: c["epoch"], (), int),
            "global": {
                q: self._joined(lambda c, q=q: c["global"][q], ())
                for q in self._quantities()
            },
            "per_layer": {
                q: self._joined(lambda c, q=q: c["per_layer"][q], (num_layers,))
                for q in of_layers
            },
            "loss_is_scaled": self._loss_is_scaled,
        }
        if self.histograms:
            shape = (num_layers, len(HISTOGRAM_EDGES))
            history["histogram_edges"] = HISTOGRAM_EDGES
            history["histograms"] = self._joined(lambda c: c["histograms"], shape)
        return history

    def _joined(
        self, part: Callable[..., np.ndarray], shape: Shape, dtype: type = float
    ) -> np.ndarray:
        """Puts the parts of the chunks into one array; `shape` is that of one row."""
        parts = [part(chunk) for chunk in self._chunks]
        return np.concatenate(parts) if parts else np.zeros((0, *shape), dtype)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draws gradient norms, layers by time, and update ratios.

        Args:
            path: Where to save the picture. None means nowhere.

        Returns:
            A Matplotlib figure, which pyplot does not keep open. Layers whose gradient
            was zero are left white.

        Raises:
            ValueError: If nothing was recorded yet.
        """
        figure = draw(recorded(self.history))
        if path is not None:
            figure.savefig(path)
        return figure


def _with_all(rows: Record, names: Sequence[str]) -> Record:
    """The columns of these names; NaN where there is none."""
    nothing = np.full_like(rows["gradient_norm"], np.nan)
    return {name: rows.get(name, nothing) for name in names}


def _row_of_nan(rows: Record, update: int) -> Record:
    """What is known when no update was made: how many gradients were not finite."""
    bad = rows["nonfinite"]
    return {
        **rows,
        "update": np.array([update]),
        "global": {q: np.array([np.nan]) for q in rows["global"]}
        | {"nonfinite": bad[-1:]},
        "per_layer": {q: np.full((1, len(bad) - 1), np.nan) for q in rows["per_layer"]}
        | {"nonfinite": bad[None, :-1]},
        "histograms": np.zeros((1, *rows["histograms"].shape[1:])),
    }
