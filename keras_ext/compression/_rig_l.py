"""Trains with few weights from the beginning, and moves them where they are needed."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from keras import ops

from keras_ext._core._checks import checked_seed, choice, integer, number, require
from keras_ext._core._pattern import check_pattern
from keras_ext._core._typing import Logs, Pattern, Record, Shape, Tensor
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._fit._training_run import TrainingRun
from keras_ext._keras._optimizer_slots import updates_with_this
from keras_ext.callbacks._announcement import tell
from keras_ext.compression._constant_sparsity import ConstantSparsity
from keras_ext.compression._masking import Masking
from keras_ext.compression._planned_updates import planned_updates
from keras_ext.compression._pruned_weights import candidates
from keras_ext.compression._pruning_report import PruningReport, report_on
from keras_ext.compression._saliency import Saliency


class RigL(ScopedCallback):
    """Keeps a model sparse from its first step, and rewires it while it trains.

    The model begins with connections drawn at random. At intervals, a share of those
    with the smallest weights is dropped, and the same number is grown where the
    gradient is largest, with weights that begin at zero. The share falls like a cosine,
    to nothing at `end_step`. A model trained like this is often better than one pruned
    as far afterwards in the same time, but takes longer to train than a dense one.

    It runs in all the ways that `Prune` does. The gradients of masked weights are those
    of the dense model, and the optimizer keeps averaging them. A weight with enough
    zeros when training begins keeps its connections, so a second `fit` continues.

    Logs `sparsity`, the share of the entries that are zero.

    Args:
        sparsity: Number in (0, 1), the share of zeros in all chosen weights together.
        end_step: Integer >= 1, the last step before which connections are moved,
            counted in updates of the optimizer, from 1; some three quarters of the
            training.
        frequency: Integer >= 1, the steps between two moves. Defaults to `100`.
        fraction: Number in (0, 1), the share of the connections that the first move
            is for. Defaults to `0.3`.
        distribution: `"erdos_renyi"` to give large weights a higher sparsity, by the
            sum of their axes over the product; `"uniform"` for the same in all.
            Defaults to `"erdos_renyi"`.
        include: Which weights: a regular expression that is searched in the path, a
            list of them, or a function of the variable. None means kernels and
            embeddings that are not depthwise.
        exclude: Which are not, in the same form. None means none.
        seed: An integer that the first connections depend on, or None for 0.
        verbose: `1` to print a line when training begins, unless `fit` is told
            `verbose=0`; `0` to be silent. Defaults to `1`.

    Attributes:
        report: A `PruningReport` of the weights as they were when training began, or
            ended; None before.

    Raises:
        ValueError: If an argument is not of this form. When training begins, if the
            model is not built or has no such weights, or `end_step` comes later than
            the end of the training.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(64, 8))
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model.compile("sgd", "mse")
        >>> rig_l = kx.compression.RigL(0.75, end_step=8, frequency=2, verbose=0)
        >>> history = model.fit(
        ...     x, x[:, :4], epochs=5, callbacks=[rig_l], verbose=0
        ... )
        >>> rig_l.report.sparsity
        0.75

    References:
        - [Evci et al., 2020](https://arxiv.org/abs/1911.11134)
    """

    def __init__(  # noqa: PLR0913
        self,
        sparsity: float,
        *,
        end_step: int,
        frequency: int = 100,
        fraction: float = 0.3,
        distribution: str = "erdos_renyi",
        include: Pattern = None,
        exclude: Pattern = None,
        seed: int | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        self.sparsity = number(sparsity, "sparsity", above=0, below=1)
        self.end_step = integer(end_step, "end_step", low=1)
        self.frequency = integer(frequency, "frequency", low=1)
        self.fraction = number(fraction, "fraction", above=0, below=1)
        words = ("erdos_renyi", "uniform")
        self.distribution = choice(distribution, "distribution", words)
        self.include = include
        self.exclude = exclude
        self.seed = checked_seed(seed) or 0
        self.verbose = integer(verbose, "verbose", low=0, high=1)
        self.report: PruningReport | None = None

    def attach(self, scope: FitScope) -> None:
        self._found = candidates(
            scope.model, self.include, self.exclude, lambda variable: None
        )
        variables = [c.variable for c in self._found if c.reason is None]
        with scope.model.distribute_strategy.scope():
            self._masking = Masking(variables, [[i] for i in range(len(variables))])
        # Connections that grow begin at zero, and not with what an update gave them.
        self._masking.regrows = False
        self._gradients = Saliency("gradient", variables)
        self._pipeline = AttachedPipeline.of(scope)
        self._pipeline.add_signal(self._gradients)
        optimizer = scope.optimizer
        steps = ConstantSparsity(
            self.sparsity,
            # Before the first update no gradient says what to grow.
            begin_step=self.frequency,
            end_step=max(self.end_step, self.frequency),
            frequency=self.frequency,
        )
        self._masking.renew_by(steps, self._moved, lambda: updates_with_this(optimizer))
        self._masking.put_on(scope)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._pipeline.begin()
        self._require_end_in_time()
        self._connect()
        self.report = report_on(self._found)
        run = TrainingRun.present(self.model)
        if run is not None:
            # Weights may be restored by callbacks that come later.
            run.on_close(self._masking.apply)
        tell(self, self.report.summary.removesuffix("."))

    def _require_end_in_time(self) -> None:
        most = planned_updates(self.fit_scope.optimizer, self.params)
        if most is not None:
            rule = f"at most {most}, the updates that there will be"
            require(self.end_step <= most, "end_step", self.end_step, rule)

    def _connect(self) -> None:
        """Draws the first connections of weights that have none yet."""
        variables = self._masking.variables
        shapes = [tuple(v.shape) for v in variables]
        rng = np.random.default_rng(self.seed)
        wanted = densities(shapes, 1.0 - self.sparsity, self.distribution)
        for variable, density in zip(variables, wanted, strict=True):
            values = ops.convert_to_numpy(variable)
            kept = max(1, round(density * values.size))
            if 0 < np.count_nonzero(values) <= kept:
                continue
            order = rng.permutation(values.size)
            mask = np.zeros(values.size, bool)
            mask[order[:kept]] = True
            variable.assign(np.where(mask.reshape(values.shape), values, 0))
        self._masking.follow()

    def _moved(
        self, values: Sequence[Tensor], numbers: Sequence[int], step: Tensor
    ) -> Sequence[Tensor]:
        """The masks after the smallest weights have made place for others."""
        passed = ops.cast(step, "float32") / float(self.end_step)
        # The cosine of the paper: fewer connections move as the training goes on.
        cosine = 0.5 * (1.0 + ops.cos(math.pi * ops.minimum(passed, 1.0)))
        share = self.fraction * cosine
        return [
            moved(
                w, self._masking.masks[i].value, self._gradients.scores[i].value, share
            )
            for w, i in zip(values, numbers, strict=True)
        ]

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["sparsity"] = self._masking.sparsity

    def on_train_end(self, logs: Logs = None) -> None:
        self._masking.apply()
        self.report = report_on(self._found)
        super().on_train_end(logs)

    def get_state(self) -> Record:
        masks = [ops.convert_to_numpy(mask) for mask in self._masking.masks]
        return {**super().get_state(), "masks": masks}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        # Connections that have just grown are zero, as what is masked.
        self._masking.follow(state["masks"])


def moved(weight: Tensor, mask: Tensor, gradient: Tensor, share: Tensor) -> Tensor:
    """A mask with as many entries, of which a share has moved.

    Args:
        weight: The values of the weight.
        mask: The present mask.
        gradient: The sizes of the gradients.
        share: Of the entries of the mask, how many move.
    """
    size = math.prod(weight.shape)
    flat = ops.reshape(mask, (size,))
    count = ops.sum(ops.cast(flat, "int32"))
    drop = ops.cast(ops.cast(count, "float32") * share, "int32")
    large = ops.abs(ops.reshape(ops.cast(weight, "float32"), (size,)))
    # Beyond all that are kept come those that are not there.
    kept = _ranks(ops.where(flat, large, -1.0)) < count - drop
    # Also those that were just dropped may grow again.
    wanted = ops.where(kept, -1.0, ops.reshape(gradient, (size,)))
    grown = _ranks(wanted) < drop
    return ops.reshape(ops.logical_or(kept, grown), mask.shape)


def _ranks(scores: Tensor) -> Tensor:
    """The place of each, the largest first."""
    # The second one inverts the permutation of the first, which gives ranks.
    return tf.argsort(tf.argsort(scores, direction="DESCENDING", stable=True))


def densities(
    shapes: Sequence[Shape], density: float, distribution: str
) -> list[float]:
    """The shares of entries that weights keep, so that all together have a density.

    Args:
        shapes: The shapes of the weights.
        density: That of all together.
        distribution: `"uniform"` or `"erdos_renyi"`, see `RigL`.
    """
    if distribution == "uniform":
        return [density] * len(shapes)
    sizes = [math.prod(n or 1 for n in shape) for shape in shapes]
    # Erdos-Renyi-Kernel: density in proportion to the sum of all axes over their
    # product.
    raw = [
        sum(n or 1 for n in shape) / size
        for shape, size in zip(shapes, sizes, strict=True)
    ]
    # Weights that would need more than all of their entries are dense.
    dense: set[int] = set()
    while True:
        others = [i for i in range(len(shapes)) if i not in dense]
        left = density * sum(sizes) - sum(sizes[i] for i in dense)
        factor = left / sum(raw[i] * sizes[i] for i in others)
        full = {i for i in others if raw[i] * factor > 1.0}
        if not full:
            return [1.0 if i in dense else raw[i] * factor for i in range(len(shapes))]
        dense |= full
