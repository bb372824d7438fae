"""Prunes weights while a model trains."""

import warnings
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._core._checks import checked_seed, choice, integer, number, require
from keras_ext._core._pattern import check_pattern
from keras_ext._core._typing import Data, Logs, Pattern, Record, Tensor, Variable
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._fit._training_run import TrainingRun
from keras_ext._keras._optimizer_family import updates_so_far
from keras_ext._keras._optimizer_slots import updates_with_this
from keras_ext.callbacks._announcement import tell
from keras_ext.callbacks.regularization._data_of_fit import DataOfFit
from keras_ext.compression._constant_sparsity import require_end, require_share
from keras_ext.compression._criterion import CRITERIA, Criterion
from keras_ext.compression._input_norms import kernel_layers, reason_without_inputs
from keras_ext.compression._mask_rule import checked_rule
from keras_ext.compression._masking import Masking
from keras_ext.compression._planned_updates import planned_updates
from keras_ext.compression._pruned_weights import Candidate, candidates
from keras_ext.compression._pruning_goal import PausedSchedule, PruningGoal
from keras_ext.compression._pruning_report import PruningReport, report_on
from keras_ext.compression._sparsity_schedule import SparsitySchedule


class Prune(ScopedCallback):
    """Makes weights zero, step by step, while the model trains, and keeps them so.

    A schedule says when the weights that matter least are set to zero; the others learn
    to do without them. Everything happens inside the compiled step, at the end of an
    update, after the model's own constraints: masks are renewed exactly before the step
    that the schedule names, whatever `steps_per_execution`, accumulation, precision or
    number of replicas. A pruned weight may come back when masks are renewed, if its
    next update would have moved it far enough. The trained model is a plain model whose
    weights have zeros; its files differ only in how well they compress.

    Masks and steps are those of `prune_low_magnitude` of tensorflow-model-optimization,
    except that there a pruned weight has no chance to come back at the end of an epoch.

    Kernels and embeddings are pruned, also in nested and subclassed models. `report`
    lists every weight, with the reason if it is not pruned. A schedule that cannot end
    within the planned updates is an error; a training that stops before the schedule
    has ended warns. If weights are restored at the end, as by `EarlyStopping`, the
    masks are applied to them. To train further and keep the zeros, use `KeepZeros`.

    Unstructured zeros make a compressed file small. They make a model faster only if
    the interpreter makes use of them.

    Logs `sparsity`, the share of the entries that are pruned, and with a target
    `error_rise`, by how much the error may have risen.

    Args:
        schedule: How sparse the weights are and when, for example a `PolynomialDecay`.
        target: `"validation"` to prune only as far as data that are not trained with
            allow: the `schedule` says how fast and at most how far. After each epoch
            the rows of these data are compared, one by one, with what the best model so
            far made of them. Where the share of wrong rows may have risen by more than
            the `tolerance`, with a confidence of 95 %, pruning waits for the training
            to make up for it; if it does not, the last weights that passed come back in
            the end. None means to follow the schedule.
        tolerance: Number > 0, by how much the share of wrong rows may rise; for models
            without classes, the loss, as a share of it. A small one takes many rows:
            some thousand for the default. Defaults to `0.01`.
        validation_data: The data to compare with, as of `fit`; None means those of
            `fit`.
        criterion: What is kept. `"magnitude"`: what is large. `"movement"`: what has
            moved away from zero, by the sum of weight times gradient; good when a
            pretrained model is adapted. `"taylor"`: what the loss depends on, by the
            mean square of weight times gradient. `"activation"`: what is large and
            multiplied with what is large, as measured before each epoch on rows of the
            data of `fit`; of `Dense` layers and convolutions. `"random"`: anything, for
            comparison. Defaults to `"magnitude"`.
        scope: `"layer"` to give every weight the same sparsity; `"global"` to rank all
            together; `"adaptive"` to rank all together by their squares, each divided
            by the sum of those in its weight that are as large (LAMP), which leaves
            more to small layers. Defaults to `"layer"`.
        m_by_n: As `(m, n)`, zeros in every n entries along the inputs, for example
            `(2, 4)`; the schedule has to be a `ConstantSparsity` of m/n. None for no
            such pattern.
        block_size: Rows and columns of the blocks that are pruned as a whole, of a
            kernel seen as a matrix with its outputs in the last axis. None for single
            entries.
        max_layer_sparsity: Number in (0, 1], the most that is pruned of one weight with
            another scope than `"layer"`. Defaults to `0.99`.
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
        stopped: Where `target` has let it end and why, a sentence; None before.

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
        - [Sun et al., 2023](https://arxiv.org/abs/2306.11695) (activation)
        - [Lee et al., 2021](https://arxiv.org/abs/2010.07611) (adaptive)
    """

    def __init__(  # noqa: PLR0913
        self,
        schedule: SparsitySchedule,
        *,
        target: str | None = None,
        tolerance: float = 0.01,
        validation_data: Data = None,
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
        self.criterion = choice(criterion, "criterion", CRITERIA)
        self.rule = checked_rule(
            m_by_n, block_size, max_layer_sparsity, scope, criterion
        )
        self.scope = scope
        require_share(schedule, self.rule.m_by_n)
        valid = target is None or (isinstance(target, str) and target == "validation")
        require(valid, "target", target, '"validation" or None')
        self.target = target
        self.tolerance = number(tolerance, "tolerance", above=0)
        name = "validation_data"
        given = validation_data is not None
        self.validation_data = FixedData(validation_data, name=name) if given else None
        self.include = include
        self.exclude = exclude
        self.seed = checked_seed(seed) or 0
        self.verbose = integer(verbose, "verbose", low=0, high=1)
        self.report: PruningReport | None = None
        self.stopped: str | None = None

    def attach(self, scope: FitScope) -> None:
        self._found: list[Candidate] = candidates(
            scope.model,
            self.include,
            self.exclude,
            self._reason_against(scope.model),
        )
        variables = [c.variable for c in self._found if c.reason is None]
        numbers = range(len(variables))
        joint = self.scope != "layer"
        with scope.model.distribute_strategy.scope():
            groups = [numbers] if joint else [[i] for i in numbers]
            self._masking = Masking(variables, groups)
            self._pace = self.schedule
            self._goal: PruningGoal | None = None
            if self.target is not None:
                self._pace = paused = PausedSchedule(self.schedule)
                self._goal = PruningGoal(self._masking, paused, self.tolerance)
        self._criterion = Criterion(self.criterion, scope, variables, self.seed)
        optimizer = scope.optimizer
        self._masking.renew_by(
            self._pace, self._new_masks, lambda: updates_with_this(optimizer)
        )
        self._masking.put_on(scope)

    def _reason_against(self, model: keras.Model) -> Callable[[Variable], str | None]:
        """Why a weight of the model is not pruned, if it is not."""
        known = kernel_layers(model) if self.criterion == "activation" else None

        def reason(variable: Variable) -> str | None:
            against = self.rule.reason_against(tuple(variable.shape))
            if against is None and known is not None:
                return reason_without_inputs(known, variable)
            return against

        return reason

    def _new_masks(
        self, values: Sequence[Tensor], numbers: Sequence[int], step: Tensor
    ) -> Sequence[Tensor]:
        scores = self._criterion.scores(values, numbers)
        return self.rule.masks(scores, self._pace.sparsity(step))

    @property
    def _updates(self) -> int:
        return updates_so_far(self.fit_scope.optimizer)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._require_end_in_time()
        self._criterion.begin()
        if self._goal is not None:
            data = self.validation_data or DataOfFit(self.model).validation_rows()
            self._goal.begin(self.model, data)
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
        most = planned_updates(self.fit_scope.optimizer, self.params)
        if self._goal is None and most is not None:
            require_end(self.schedule, most)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._criterion.measure()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._require_all_seen()
        logs = {} if logs is None else logs
        if self._goal is not None:
            logs["error_rise"] = self._goal.test(epoch, self._updates)
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
        if self._goal is not None:
            self.stopped = self._goal.end()
            tell(self, self.stopped.removesuffix("."))
        self._masking.apply()
        self.report = report_on(self._found)
        self._warn_unless_ended()
        super().on_train_end(logs)

    def _warn_unless_ended(self) -> None:
        last, updates = self.schedule.last_due, self._updates
        if updates < last and self._goal is None:
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

    def get_state(self) -> Record:
        goal = {} if self._goal is None else {"goal": self._goal.get_state()}
        return {**super().get_state(), **goal}

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        # First: where the schedule stands still, or lags, it renews no masks below.
        if self._goal is not None:
            self._goal.set_state(state["goal"])
        # The weights that the training goes on with have zeros.
        self._masking.begin(self._updates + 1)
