"""Keeps the entries of weights equal that are equal, while a model trains."""

from functools import partial

import keras
import numpy as np
import tensorflow as tf

from keras_ext._core._pattern import check_pattern
from keras_ext._core._typing import Logs, Pattern, Record, Tensor, Variable
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._fit._training_run import TrainingRun
from keras_ext._keras._replica import local_variable, parts
from keras_ext.compression._pruned_weights import candidates
from keras_ext.compression._pruning_report import PruningReport, report_on

_MOST_VALUES = 256


class KeepClusters(ScopedCallback):
    """Trains the common values of clustered weights, and keeps equal entries equal.

    A clustered model is a plain model: in further training, equal entries differ after
    the first update. With this callback, each update moves all entries of a cluster
    together, by the mean of their separate moves, and zeros stay zero. This happens
    inside the compiled step, after the model's own constraints. Optimizers like Adam
    move entries by similar amounts, so use a small learning rate.

    Args:
        include: Which weights: a regular expression that is searched in the path, a
            list of them, or a function of the variable. None means kernels and
            embeddings that are not depthwise.
        exclude: Which are not, in the same form. None means none.

    Attributes:
        report: A `PruningReport` of the weights, with how many different `values` each
            has; None before the first training.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, the
            model is not built or no weight has 256 different values or fewer.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(32, 8))
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model.compile("sgd", "mse")
        >>> report = kx.compression.cluster(model, 3)
        >>> keep = kx.compression.KeepClusters()
        >>> history = model.fit(x, x[:, :4], epochs=2, callbacks=[keep], verbose=0)
        >>> [row.values for row in keep.report.rows]
        [3]
    """

    def __init__(self, *, include: Pattern = None, exclude: Pattern = None) -> None:
        super().__init__()
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        self.include = include
        self.exclude = exclude
        self.report: PruningReport | None = None

    def attach(self, scope: FitScope) -> None:
        self._found = candidates(
            scope.model, self.include, self.exclude, _reason_against
        )
        self._clusters = []
        for candidate in self._found:
            if candidate.reason is None:
                with scope.model.distribute_strategy.scope():
                    clusters = Clusters(candidate.variable)
                self._clusters.append(clusters)
                undo = partial(
                    setattr, candidate.variable, "constraint", clusters.inner
                )
                scope.on_close(undo)
                candidate.variable.constraint = clusters

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._begin()
        self.report = report_on(self._found)
        run = TrainingRun.present(self.model)
        if run is not None:
            # Weights may be restored by callbacks that come later.
            run.on_close(self._apply)

    def _begin(self) -> None:
        for clusters in self._clusters:
            clusters.begin()

    def _apply(self) -> None:
        for clusters in self._clusters:
            clusters.apply()

    def on_train_end(self, logs: Logs = None) -> None:
        # Keras has written the averages of the optimizer, `use_ema`, before this.
        self._apply()
        self.report = report_on(self._found)
        super().on_train_end(logs)

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        # The weights that the training goes on with have its clusters.
        self._begin()


class Clusters(keras.constraints.Constraint):
    """Gives the entries of each cluster of a weight their mean.

    Args:
        variable: The weight. Its own constraint is applied first.
    """

    def __init__(self, variable: Variable) -> None:
        self.variable = variable
        self.inner: keras.constraints.Constraint | None = variable.constraint
        values = keras.ops.convert_to_numpy(variable)
        self.size = len(np.unique(values))
        # Which cluster each entry is in, and what the mean of each is multiplied with:
        # that of the zeros stays zero. A replica has its own, equal to the others'.
        self._which = local_variable(
            (values.size,), "int32", "clusters", "only_first_replica"
        )
        self._factors = local_variable(
            (self.size,), "float32", "kept", "only_first_replica", 1.0
        )

    def begin(self) -> None:
        """Takes up the clusters that there are."""
        values = keras.ops.convert_to_numpy(self.variable)
        distinct, which = np.unique(values, return_inverse=True)
        # `size` is that of `attach`. Where fewer values are left, no entry refers to
        # the rest.
        kept: np.ndarray = np.resize(distinct != 0, self.size).astype("float32")
        _write(self._which, np.reshape(which, -1).astype("int32"))
        _write(self._factors, kept)

    def __call__(self, w: Variable) -> Tensor:
        value = tf.convert_to_tensor(w if self.inner is None else self.inner(w))
        flat = tf.reshape(tf.cast(value, tf.float32), (-1,))
        which = self._which.value
        # In float32, whatever the policy: sums of a cluster may be long.
        sums = tf.math.unsorted_segment_sum(flat, which, self.size)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(flat), which, self.size)
        means = self._factors.value * sums / tf.maximum(counts, 1.0)
        return tf.cast(tf.reshape(tf.gather(means, which), value.shape), value.dtype)

    def apply(self) -> None:
        """Brings together what others have written; on the host."""
        value = keras.ops.convert_to_numpy(self.variable)
        if len(np.unique(value)) > self.size:
            inner, self.inner = self.inner, None
            self.variable.assign(self(keras.ops.convert_to_tensor(value)))
            self.inner = inner


def _write(variable: Variable, value: np.ndarray) -> None:
    """Writes the values of all replicas, from outside of them."""
    for part in parts(variable):
        part.assign(value)


def _reason_against(variable: Variable) -> str | None:
    values = len(np.unique(keras.ops.convert_to_numpy(variable)))
    if values <= _MOST_VALUES:
        return None
    return f"it has {values:,} different values"
