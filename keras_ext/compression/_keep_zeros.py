"""Keeps the zeros of a pruned model while it trains on."""

from keras_ext._core._pattern import check_pattern
from keras_ext._core._typing import Logs, Pattern, Record
from keras_ext._fit._fit_scope import FitScope
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._fit._training_run import TrainingRun
from keras_ext.compression._masking import Masking
from keras_ext.compression._pruned_weights import candidates
from keras_ext.compression._pruning_report import PruningReport, report_on


class KeepZeros(ScopedCallback):
    """Keeps weights at zero that are zero when training begins.

    A pruned model is a plain model: in further training, its zeros are gone after the
    first update. With this callback they stay, for example during fine-tuning or
    quantization-aware training.

    Logs `sparsity`, the share of the entries that are kept at zero.

    Args:
        include: Which weights: a regular expression that is searched in the path, a
            list of them, or a function of the variable. None means kernels and
            embeddings that are not depthwise.
        exclude: Which are not, in the same form. None means none.

    Attributes:
        report: A `PruningReport` of the weights; None before the first training.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, the
            model is not built or has no such weights.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> x = np.random.default_rng(0).normal(size=(32, 8))
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> report = kx.compression.prune(model, 0.5)
        >>> keep = kx.compression.KeepZeros()
        >>> history = model.fit(x, x[:, :1], epochs=2, callbacks=[keep], verbose=0)
        >>> keep.report.sparsity
        0.5
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
            scope.model, self.include, self.exclude, lambda variable: None
        )
        variables = [c.variable for c in self._found if c.reason is None]
        with scope.model.distribute_strategy.scope():
            self._masking = Masking(variables, [[i] for i in range(len(variables))])
        self._masking.put_on(scope)

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._masking.begin(0)
        self.report = report_on(self._found)
        run = TrainingRun.present(self.model)
        if run is not None:
            # Weights may be restored by callbacks that come later.
            run.on_close(self._masking.apply)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["sparsity"] = self._masking.sparsity

    def on_train_end(self, logs: Logs = None) -> None:
        # Keras has written the averages of the optimizer, `use_ema`, before this.
        self._masking.apply()
        self.report = report_on(self._found)
        super().on_train_end(logs)

    def set_state(self, state: Record) -> None:
        super().set_state(state)
        self._masking.begin(0)
