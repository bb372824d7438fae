"""Prunes weights while a model trains."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ext._core._checks import checked_seed, choice, integer, require
from keras_ext._core._pattern import check_pattern
from keras_ext._core._typing import Logs, Pattern, Record, Tensor, Variable
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._fit._training_run import TrainingRun
from keras_ext._keras._optimizer_slots import updates_with_this
from keras_ext.callbacks._announcement import tell
from keras_ext.compression._constant_sparsity import ConstantSparsity
from keras_ext.compression._mask_rule import SCOPES, checked_rule, score
from keras_ext.compression._masking import Masking
from keras_ext.compression._pruned_weights import Candidate, candidates
from keras_ext.compression._pruning_report import PruningReport, report_on
from keras_ext.compression._saliency import Saliency
from keras_ext.compression._sparsity_schedule import SparsitySchedule


class Prune(ScopedCallback):
    """Makes weights zero, step by step, while the model trains, and keeps them so.

    The weights that matter least are set to zero as a schedule says, and the others
    learn to do without. Everything happens inside the compiled step, at the end of an
    update, after the model's own constraints: masks are renewed before the very step
    that the schedule names, whatever `steps_per_execution`, accumulation, precision or
    number of replicas. A pruned weight may come back when masks are renewed, if its
    next update would have moved it far enough. The trained model is a plain one, whose
    weights have zeros; the files do not differ but in how well they are compressed.

    Masks and steps are those of `prune_low_magnitude` of tensorflow-model-optimization,
    but that the end of an epoch is nothing special: there, a pruned weight has no
    chance to come back.

    Kernels and embeddings are pruned, in nested and subclassed models too. `report`
    lists every weight with the reason if it is not. A schedule that cannot end in the
    planned updates is an error; a training that stops before the schedule has ended
    warns. Where weights are restored at the end, as by `EarlyStopping`, the masks are
    applied to what is restored. To go on later and keep the zeros, use `KeepZeros`.

    Unstructured zeros make a compressed file small. They do not make a model faster,
    unless what runs it knows about them.

    Logs `sparsity`, the share of the entries that are pruned.

    Args:
        schedule: How sparse the weights are and when, for example a `PolynomialDecay`.
        criterion: What is kept. `"magnitude"`: what is large. `"movement"`: what has
            moved away from zero, by the sum of weight times gradient; good when a
            pretrained model is adapted. `"taylor"`: what the loss depends on, by the
            mean square of weight times gradient. `"random"`: anything, for comparison.
            Defaults to `"magnitude"`.
        scope: `"layer"` to give every weight the same sparsity, `"global"` to rank all
            together. Defaults to `"layer"`.
        m_by_n: As `(m, n)`, zeros in every n entries along the inputs, for example
            `(2, 4)`; the schedule has to be a `ConstantSparsity` of m/n. None for no
            such pattern.
        block_size: Rows and columns of the blocks that are pruned as a whole, of a
            kernel seen as a matrix with its outputs in the last axis. None for single
            entries.
        max_layer_sparsity: Number in (0, 1], the most that is pruned of one weight with
            `scope="global"`. Defaults to `0.99`.
        include: Which weights: a regular expression that is searched in the path, a
            list of them, or a function of the variable. None means kernels and
            embeddings that are not depthwise.
        exclude: Which are not, in the same form. None means none.
        seed: An integer for `"random"`, or None for 0.
        verbose: `1` to print a line when training begins, unless `fit` is told
            `verbose=0`; `0` to be silent. Defaults to `1`.

    Attributes:
        report: A `PruningReport` of the weights as they were when training began, or
            ended; None before.

    Raises:
        ValueError: If an argument is not of this form. When training begins, if the
            model is not built or has nothing to prune, or the schedule cannot end.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(64, 8))
        >>> dense = keras.layers.Dense(4, name="dense")
        >>> model = keras.Sequential([keras.Input((8,)), dense])
        >>> model.compile("sgd", "mse")
        >>> schedule = kx.compression.PolynomialDecay(
        ...     0.0, 0.75, begin_step=2, end_step=10, frequency=2
        ... )
        >>> prune = kx.compression.Prune(schedule)
        >>> history = model.fit(
        ...     x, x[:, :4], epochs=6, callbacks=[prune], verbose=0
        ... )
        >>> print(prune.report)
        weight        size  zeros
        dense/kernel    32  75.0%
        all pruned      32  75.0%

    References:
        - [Zhu & Gupta, 2017](https://arxiv.org/abs/1710.01878)
        - [Sanh et al., 2020](https://arxiv.org/abs/2005.07683) (movement)
        - [Molchanov et al., 2019](https://arxiv.org/abs/1906.10771) (Taylor)
    """

    def __init__(  # noqa: PLR0913
        self,
        schedule: SparsitySchedule,
        *,
        criterion: str = "magnitude",
        scope: str = "layer",
        m_by_n: Sequence[int] | None = None,
        block_size: Sequence[int] | None = None,
        max_layer_sparsity: float = 0.99,
        include: Pattern = None,
        exclude: Pattern = None,
        seed: int | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__()
        is_one = isinstance(schedule, SparsitySchedule)
        require(is_one, "schedule", schedule, "a SparsitySchedule")
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        self.schedule = schedule
        self.criterion = choice(
            criterion, "criterion", ("magnitude", "movement", "taylor", "random")
        )
        self.scope_of_ranking = choice(scope, "scope", SCOPES)
        self.rule = checked_rule(m_by_n, block_size, max_layer_sparsity)
        _require_share(schedule, self.rule.m_by_n)
        self.include = include
        self.exclude = exclude
        self.seed = checked_seed(seed) or 0
        self.verbose = integer(verbose, "verbose", low=0, high=1)
        self.report: PruningReport | None = None

    def attach(self, scope: FitScope) -> None:
        self._found: list[Candidate] = candidates(
            scope.model,
            self.include,
            self.exclude,
            lambda v: self.rule.reason_against(tuple(v.shape)),
        )
        variables = [c.variable for c in self._found if c.reason is None]
        numbers = range(len(variables))
        joint = self.scope_of_ranking == "global"
        with scope.model.distribute_strategy.scope():
            groups = [numbers] if joint else [[i] for i in numbers]
            self._masking = Masking(variables, groups)
        self._saliency = self._collected(scope, variables)
        optimizer = scope.optimizer
        self._masking.renew_by(
            self.schedule, self._new_masks, lambda: updates_with_this(optimizer)
        )
        self._masking.put_on(scope)

    def _collected(
        self, scope: FitScope, variables: Sequence[Variable]
    ) -> Saliency | None:
        if self.criterion not in ("movement", "taylor"):
            return None
        saliency = Saliency(self.criterion, variables)
        self._pipeline = AttachedPipeline.of(scope)
        self._pipeline.add_signal(saliency)
        return saliency

    def _new_masks(
        self, values: Sequence[Tensor], numbers: Sequence[int], step: Tensor
    ) -> Sequence[Tensor]:
        if self._saliency is not None:
            scores = [self._saliency.scores[i].value for i in numbers]
        else:
            pairs = zip(values, numbers, strict=True)
            scores = [score(self.criterion, w, self.seed + i) for w, i in pairs]
        return self.rule.masks(scores, self.schedule.sparsity(step))

    @property
    def _updates(self) -> int:
        return int(keras.ops.convert_to_numpy(self.scope.optimizer.iterations))

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._require_end_in_time()
        if self._saliency is not None:
            self._pipeline.begin()
        self._masking.begin(self._updates + 1)
        self._begun_at = self._updates
        self.report = report_on(self._found)
        run = TrainingRun.present(self.model)
        if run is not None:
            # Weights may be restored by callbacks that come later.
            run.on_close(self._finish)
        tell(self, self.report.summary.removesuffix("."))

    def _require_end_in_time(self) -> None:
        """Raises if the schedule cannot end in this `fit`, as far as one can tell."""
        last, params = self.schedule.last_due, self.params or {}
        steps, epochs = params.get("steps"), params.get("epochs")
        if not steps or not epochs:
            return
        most = self._updates + int(steps) * int(epochs)
        most //= getattr(self.scope.optimizer, "gradient_accumulation_steps", None) or 1
        rule = f"one that ends within the {most} updates that there will be at most"
        hint = f"Its masks are last renewed before step {last}."
        require(last <= most, "schedule", type(self.schedule).__name__, rule, hint)
        end = self.schedule.end_step
        if last < end and not isinstance(self.schedule, ConstantSparsity):
            warnings.warn(
                f"Prune: masks are last renewed before step {last} and not before "
                f"end_step={end}, which the frequency does not meet. The "
                f"sparsity will be {float(self.schedule.sparsity(last)):.3f}.",
                stacklevel=2,
            )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._require_all_seen()
        if logs is not None:
            logs["sparsity"] = self._masking.sparsity

    def _require_all_seen(self) -> None:
        """Raises if the optimizer does not move a weight, and so never prunes it."""
        chosen = [c.path for c in self._found if c.reason is None]
        unseen = [p for i, p in enumerate(chosen) if i not in self._masking.seen]
        moved = self._updates > self._begun_at
        rule = f"without {unseen[:3]}, which get no gradient and are not pruned"
        require(not (moved and unseen), "include", self.include, rule)

    def on_train_end(self, logs: Logs = None) -> None:
        # After the averages of an optimizer, which Keras writes into the weights.
        self._masking.apply()
        self.report = report_on(self._found)
        self._warn_unless_ended()
        super().on_train_end(logs)

    def _warn_unless_ended(self) -> None:
        last, updates = self.schedule.last_due, self._updates
        if updates < last:
            wanted = float(self.schedule.sparsity(tf.constant(last)))
            warnings.warn(
                f"Prune: the training has ended after {updates} updates, and masks "
                f"are last renewed before step {last}. The sparsity is "
                f"{self._masking.sparsity:.3f} and not {wanted:.3f}.",
                stacklevel=2,
            )

    def _finish(self) -> None:
        """Masks weights that others have restored; when all callbacks are done."""
        if self._masking.apply():
            self.report = report_on(self._found)

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        # The weights that the training goes on with have its zeros.
        self._masking.begin(self._updates + 1)


def _require_share(schedule: Any, m_by_n: Any) -> None:
    if m_by_n is None:
        return
    share = m_by_n[0] / m_by_n[1]
    fits = isinstance(schedule, ConstantSparsity)
    fits = fits and abs(schedule.target_sparsity - share) < 1e-6
    rule = f"a ConstantSparsity of {share:g}, as m_by_n={m_by_n} has it"
    require(fits, "schedule", type(schedule).__name__, rule)
