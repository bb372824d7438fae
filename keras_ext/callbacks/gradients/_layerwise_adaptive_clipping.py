"""Gradient clipping for existing training loops."""

import math
from collections.abc import Callable
from copy import deepcopy

from keras_ext._anatomy._depth import layers_by_depth
from keras_ext._core._checks import choice, flag, require
from keras_ext._core._pattern import matches
from keras_ext._core._typing import Logs, Pattern, Record, Variable
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext._engine._clip_by_group_norm import ClipByGroupNorm
from keras_ext._engine._gradient_signal import GradientSignal
from keras_ext._engine._pipeline_part import PipelinePart
from keras_ext.callbacks._announcement import tell, verbosity
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.gradients.clip._ada_gc import AdaGC
from keras_ext.gradients.clip._adaptive_clip import AdaptiveClip
from keras_ext.gradients.clip._auto_clip import AutoClip
from keras_ext.gradients.clip._clip_by_global_norm import ClipByGlobalNorm
from keras_ext.gradients.clip._clip_by_norm import ClipByNorm
from keras_ext.gradients.clip._z_clip import ZClip
from keras_ext.signals.gradients._clip_statistics import ClipStatistics

_RULES: dict[str, type[ClipByGroupNorm]] = {
    "agc": AdaptiveClip,
    "autoclip": AutoClip,
    "adagc": AdaGC,
    "zclip": ZClip,
    "norm": ClipByNorm,
    "global_norm": ClipByGlobalNorm,
}


# Of a rule that clips more than this share, a line says so.
_MOST = 0.5


class LayerwiseAdaptiveClipping(GradientCallback):
    """Clips gradients by a rule that adapts, without touching `compile`.

    During training, a transform of `keras_ext.gradients` stands between the gradient
    and the optimizer of the model. By default it is `AdaptiveClip`: if the gradient of
    an output unit is longer than `clipping` times the norm of its weights, it is scaled
    down to that length. It sees the gradient of the whole batch, summed over the
    replicas. At the end of `fit` the model has its own optimizer back, with its state
    advanced.

    Logs `clipped_fraction`, the share of units (or layers, see `per`) that were
    clipped, smoothed over about twenty updates; `clip_threshold`, the mean limit in the
    last update (NaN while there is no limit); and `nonfinite_steps`, the updates
    skipped so far. The first two are missing for your own rule if it is not a
    `ClipByGroupNorm`. If more than half was clipped in an epoch, a line says so once.

    Args:
        clipping: Number >= 0, for `rule="agc"` the largest ratio of gradient norm to
            weight norm. Defaults to `0.01`.
        epsilon: Number > 0, for `rule="agc"` the smallest weight norm that counts.
            Defaults to `0.001`.
        include: Which variables are clipped: a regular expression that is searched
            in `variable.path`, a list of them, or a function. None means all.
        exclude: Which are not, in the same form. None means none.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training, `"recover"` to go back to good weights,
            see `GradientCallback`. Defaults to `"skip"`.
        rule: How the limits are found: `"agc"` (`AdaptiveClip`), `"autoclip"`
            (`AutoClip`), `"adagc"` (`AdaGC`), `"zclip"` (`ZClip`), `"norm"`
            (`ClipByNorm`) or `"global_norm"` (`ClipByGlobalNorm`), all with their
            defaults; or a `GradientTransform` with arguments of your choice, such as
            `kx.gradients.AutoClip(percentile=20)`, which also says itself what it
            includes. Each `fit` uses a fresh copy of it. Defaults to `"agc"`.
        per: What has a norm: `"unit"`, `"tensor"`, `"layer"` or `"global"`, as in
            `ClipByGroupNorm`. None means what the rule was published with.
        exclude_head: Whether to leave out the last layer that has weights, the
            classifier, as the authors of AGC do. Defaults to `False`.
        verbose: `1` to print a line when more than half was clipped, unless `fit` is
            told `verbose=0`; `0` to be silent. Defaults to `1`.

    Attributes:
        transform: The transform of the present or last `fit`. Its hyperparameters may
            be assigned while training.

    Raises:
        ValueError: If an argument is out of range, or, when training begins, if the
            model has no optimizer or does not use it.
        FloatingPointError: With `nonfinite="raise"`, if a gradient was not finite.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> history = model.fit(
        ...     np.ones((8, 2)),
        ...     np.ones((8, 1)),
        ...     callbacks=[kx.callbacks.LayerwiseAdaptiveClipping(exclude="bias")],
        ...     verbose=0,
        ... )
        >>> sorted(history.history)
        ['clip_threshold', 'clipped_fraction', 'loss', 'nonfinite_steps']
        >>> type(model.optimizer).__name__
        'SGD'

        Another rule, per layer, and without the classifier:

        >>> clip = kx.callbacks.LayerwiseAdaptiveClipping(
        ...     rule="autoclip", per="layer", exclude_head=True
        ... )

    References:
        - [Brock et al., 2021](https://arxiv.org/abs/2102.06171), for `rule="agc"`; for
          the other rules see their classes
    """

    compiled = frozenset(
        {"epsilon", "include", "exclude", "rule", "per", "exclude_head"}
    )

    def __init__(  # noqa: PLR0913
        self,
        clipping: float = 0.01,
        *,
        epsilon: float = 1e-3,
        include: Pattern = None,
        exclude: Pattern = None,
        nonfinite: str = "skip",
        rule: str | PipelinePart = "agc",
        per: str | None = None,
        exclude_head: bool = False,
        verbose: int = 1,
    ) -> None:
        super().__init__(nonfinite=nonfinite)
        require(
            rule in _RULES if isinstance(rule, str) else _is_fresh_transform(rule),
            "rule",
            rule,
            f"one of {tuple(_RULES)} or a transform that is not in use",
        )
        self.clipping = clipping
        self.epsilon = epsilon
        self.include = include
        self.exclude = exclude
        self.rule = rule
        self.per = per
        self.exclude_head = flag(exclude_head, "exclude_head")
        self.verbose = verbosity(verbose)
        # Made here to check the arguments, and again in every fit, with fresh state.
        self._new_transform()

    def __setattr__(self, name: str, value: object) -> None:
        # In a `fit`, the limit of the step that runs.
        if name == "clipping" and self.is_compiled_in:
            transform: PipelinePart = self.transform
            fits = isinstance(transform, AdaptiveClip)
            require(fits, name, value, 'left as it is unless rule="agc"')
            setattr(transform, name, value)
            value = float(getattr(transform, name))
        super().__setattr__(name, value)

    def _new_transform(self) -> PipelinePart:
        if self.rule == "agc":
            per = "unit" if self.per is None else self.per
            return AdaptiveClip(
                self.clipping,
                epsilon=self.epsilon,
                include=self.include,
                exclude=self.exclude,
                per=per,
            )
        for name, value, default in (
            ("clipping", self.clipping, 0.01),
            ("epsilon", self.epsilon, 1e-3),
        ):
            hint = "Pass a transform as `rule` to choose its arguments."
            require(
                value == default, name, value, 'left out unless rule="agc"', hint=hint
            )
        if isinstance(self.rule, PipelinePart):
            return self._copied(self.rule)
        given: Record = {"include": self.include, "exclude": self.exclude}
        if self.rule == "global_norm":
            choice(self.per, "per", ("global",), optional=True)
        elif self.per is not None:
            given["per"] = self.per
        return _RULES[self.rule](**given)

    def _copied(self, rule: PipelinePart) -> PipelinePart:
        for name in ("include", "exclude", "per"):
            value = getattr(self, name)
            hint = f"Pass it to {type(rule).__name__} instead."
            require(value is None, name, value, "None if rule is a transform", hint)
        return deepcopy(rule)

    def install(self, pipeline: AttachedPipeline) -> None:
        self._has_said = False
        self.transform = self._new_transform()
        if self.exclude_head:
            self.transform.exclude = self._or_head(self.transform.exclude)
        pipeline.add_transform(self.transform)
        self._statistics = None
        if isinstance(self.transform, ClipByGroupNorm):
            self._statistics = ClipStatistics(self.transform)
            pipeline.add_signal(self._statistics)

    def _or_head(self, exclude: Pattern) -> Callable[[Variable], bool]:
        model, head = self.model, set[int]()

        def is_excluded(variable: Variable) -> bool:
            # Asked for the first time when the model is built.
            if not head:
                last = layers_by_depth(model)[-1]
                head.update(id(v) for layer in last for v in layer.trainable_weights)
            return id(variable) in head or matches(exclude, variable)

        return is_excluded

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None and self._statistics is not None:
            values = self._statistics.read()
            logs["clipped_fraction"] = values["clipped_fraction"]
            logs["clip_threshold"] = _mean_threshold(values["per_weight"])
            self._say_if_most_is_clipped(epoch, values["clipped_fraction"])
        super().on_epoch_end(epoch, logs)

    def _say_if_most_is_clipped(self, epoch: int, fraction: float) -> None:
        """Once in a `fit`: clipping is meant for outliers."""
        if fraction <= _MOST or self._has_said:
            return
        self._has_said = True
        advice = "raise `clipping`" if self.rule == "agc" else "choose a higher limit"
        tell(self, f"{fraction:.0%} of the units were clipped: {advice}", epoch=epoch)


def _is_fresh_transform(rule: object) -> bool:
    # What only measures would shape nothing.
    if not isinstance(rule, PipelinePart) or isinstance(rule, GradientSignal):
        return False
    # Its state is in a pipeline else, and cannot be copied.
    return not rule.state


def _mean_threshold(per_weight: dict[str, dict[str, float]]) -> float:
    limits = [weight["threshold"] for weight in per_weight.values()]
    limits = [x for x in limits if math.isfinite(x)]
    return sum(limits) / len(limits) if limits else math.nan
