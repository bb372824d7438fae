"""How weights are moved: one space of what this library has for it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import keras

from keras_ext._core._checks import integer, require
from keras_ext._core._typing import Record
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext.callbacks.batch_size._dynamic_batch_size import DynamicBatchSize
from keras_ext.controllers import batch_size as policies
from keras_ext.gradients.clip._adaptive_clip import AdaptiveClip
from keras_ext.gradients.clip._auto_clip import AutoClip
from keras_ext.gradients.clip._clip_by_global_norm import ClipByGlobalNorm
from keras_ext.gradients.clip._clip_by_norm import ClipByNorm
from keras_ext.gradients.clip._clip_by_value import ClipByValue
from keras_ext.gradients.clip._z_clip import ZClip
from keras_ext.optimizers._compose import compose
from keras_ext.schedules._inverse_square_root import InverseSquareRoot
from keras_ext.schedules._one_cycle import OneCycle
from keras_ext.schedules._rex import Rex
from keras_ext.schedules._warmup_stable_decay import WarmupStableDecay
from keras_ext.tuner.spaces._asked import (
    Asked,
    Flags,
    Numbers,
    Words,
    flags,
    number_span,
    words,
)

if TYPE_CHECKING:
    import keras_tuner


class _Direction(NamedTuple):
    """An optimizer: its usual rate, and what its hyperparameters are called."""

    rate: float
    first: str | None = "beta_1"
    second: str | None = "beta_2"
    decays: bool = False
    # Whether averaging by `ScheduleFree` can take the place of its momentum.
    can_be_free: bool = False


_DIRECTIONS = {
    "sgd": _Direction(0.1, "momentum", None, can_be_free=True),
    "rmsprop": _Direction(1e-3, "momentum", "rho", can_be_free=True),
    "adagrad": _Direction(1e-2, None, None, can_be_free=True),
    "adam": _Direction(1e-3, can_be_free=True),
    "adamw": _Direction(1e-3, decays=True, can_be_free=True),
    "nadam": _Direction(1e-3),
    "lion": _Direction(1e-4, decays=True),
    "radam": _Direction(1e-3),
    "adabelief": _Direction(1e-3),
    "yogi": _Direction(1e-2),
    "lamb": _Direction(1e-2, decays=True),
}
# What a rule of clipping is given, by what it is searched between.
_CLIPS: dict[str, tuple[tuple[float, float], Callable[[float], GradientTransform]]] = {
    "global_norm": ((0.01, 10.0), ClipByGlobalNorm),
    "norm": ((0.01, 10.0), ClipByNorm),
    "value": ((1e-3, 1.0), ClipByValue),
    "adaptive": ((1e-3, 0.3), AdaptiveClip),
    "auto": ((2.0, 90.0), AutoClip),
    "z": ((1.5, 5.0), ZClip),
}
_WARMED = ("warmup_cosine", "one_cycle", "warmup_stable_decay", "inverse_square_root")
_ENDING = ("cosine", "exponential", "warmup_cosine", "rex", "warmup_stable_decay")
_SCHEDULES = ("constant", "one_cycle", "inverse_square_root", *_ENDING)
_POLICIES = {
    "noise_scale": policies.NoiseScale,
    "norm_test": policies.NormTest,
    "inner_product_test": policies.InnerProductTest,
    "gradient_diversity": policies.GradientDiversity,
}


class _Growing(policies.Staged):
    """First a size that is fixed, then a policy, up to four times that size.

    The learning rate stays, and its schedule runs by samples: a growing batch makes
    fewer updates than the schedule was made for.
    """

    @property
    def sets_learning_rate(self) -> bool:  # type: ignore[override]
        return True

    def learning_rate_gain(
        self, measured: policies.Measured, batch_size: float
    ) -> float | None:
        return 1.0

    @property
    def largest_factor(self) -> float:
        return 4.0


_AVERAGING = ("none", "ema", "lookahead", "schedule_free")


def optimization(  # noqa: PLR0913 - what an optimizer can be
    *,
    directions: Words = ("sgd", "rmsprop", "adam", "adamw", "lion"),
    learning_rate: Numbers = (0.01, 100.0),
    clip: Words = ("none", "global_norm", "adaptive"),
    schedule: Words = ("constant", "cosine", "warmup_cosine", "one_cycle"),
    averaging: Words = ("none", "ema", "lookahead"),
    batch_policy: Words = "constant",
    cautious: Flags = False,
    forget: Numbers = (0.01, 0.5),
    forget_squares: Numbers = (1e-4, 0.1),
    weight_decay: Numbers = (1e-6, 0.1),
    total_steps: int | None = None,
) -> "Optimization":
    """The space of optimizers: direction, clipping, schedule, averaging and batches.

    Every combination is one optimizer, made by `keras_ext.optimizers.compose`. Axes are
    such that what is near behaves alike: the learning rate is a multiple of what is
    usual for the direction, so that one axis serves SGD, Adam and Lion; and what is
    searched of momentum and betas is how much is forgotten at a step, on a log scale.
    Hyperparameters that a choice does not have are not searched with it.

    Args:
        directions: One or several of `"sgd"`, `"rmsprop"`, `"adagrad"`, `"adam"`,
            `"adamw"`, `"nadam"`, `"lion"`, `"radam"`, `"adabelief"`, `"yogi"` and
            `"lamb"`. Defaults to `("sgd", "rmsprop", "adam", "adamw", "lion")`.
        learning_rate: Number > 0 or a pair, a multiple of 0.1 for SGD, 0.01 for
            Adagrad, Yogi and LAMB, 1e-4 for Lion, and 1e-3 for the others. Defaults to
            `(0.01, 100.0)`.
        clip: One or several of `"none"`; `"global_norm"`, `"norm"` and `"value"` at a
            searched limit; `"adaptive"`, `keras_ext.gradients.AdaptiveClip`; `"auto"`,
            `AutoClip`; and `"z"`, `ZClip`. Defaults to
            `("none", "global_norm", "adaptive")`.
        schedule: One or several of `"constant"`, `"cosine"`, `"exponential"`,
            `"warmup_cosine"`, `"one_cycle"`, `"rex"`, `"warmup_stable_decay"` and
            `"inverse_square_root"`. Defaults to
            `("constant", "cosine", "warmup_cosine", "one_cycle")`.
        averaging: One or several of `"none"`, `"ema"`, `"lookahead"` and
            `"schedule_free"`, which is chosen for SGD, RMSprop, Adagrad, Adam and AdamW
            alone, and takes the place of their momentum. Defaults to
            `("none", "ema", "lookahead")`.
        batch_policy: One or several of `"constant"`, `"noise_scale"`, `"norm_test"`,
            `"inner_product_test"` and `"gradient_diversity"`: by what
            `keras_ext.callbacks.DynamicBatchSize` lets the batch grow, to four times
            its size at most. A schedule runs as many times faster then, and so comes
            to its end. Defaults to `"constant"`.
        cautious: True, False or both: whether weights only move against the gradient.
            Defaults to `False`.
        forget: Number in (0, 1] or a pair: one minus the momentum or `beta_1`. Defaults
            to `(0.01, 0.5)`.
        forget_squares: Number in (0, 1] or a pair: one minus `beta_2`, or `rho` of
            RMSprop. Defaults to `(1e-4, 0.1)`.
        weight_decay: Number > 0 or a pair, for AdamW, Lion and LAMB. Defaults to
            `(1e-6, 0.1)`.
        total_steps: Integer >= 1, the number of updates, over which schedules go. None
            means that it is given with `hp`, as `keras_ext.tuner.SpaceModel` does.

    Returns:
        A function of `hp`, and of `total_steps` unless it was given here, that returns
        an optimizer. Its `declare(hp)` declares all hyperparameters, whose names begin
        with `optimization/`, and its `callbacks(hp)` returns what `fit` has to be given
        for the batch policy; it takes the `batch_size` of `fit`, too, which
        `steps_per_execution` needs.

    Raises:
        ValueError: If an argument is out of range, or when an optimizer is made, if
            a schedule has no number of steps.

    Examples:
        >>> import keras_tuner
        >>> import keras_ext as kx
        >>> space = kx.tuner.spaces.optimization(total_steps=1000)
        >>> hp = keras_tuner.HyperParameters()
        >>> hp.values["optimization/direction"] = "adamw"
        >>> hp.values["optimization/averaging"] = "lookahead"
        >>> optimizer = space(hp)
        >>> type(optimizer).__name__, type(optimizer.optimizer).__name__
        ('Lookahead', 'AdamW')
        >>> len(hp.space)
        12
    """
    chosen = words(directions, "directions", tuple(_DIRECTIONS))
    averages = words(averaging, "averaging", _AVERAGING)
    fits = averages != ("schedule_free",) or all(
        _DIRECTIONS[name].can_be_free for name in chosen
    )
    hint = "Nadam, Lion and those of this library need their momentum."
    require(fits, "averaging", averaging, "another too, with such directions", hint)
    return Optimization(
        chosen,
        number_span(learning_rate, "learning_rate"),
        words(clip, "clip", ("none", *_CLIPS)),
        words(schedule, "schedule", _SCHEDULES),
        averages,
        words(batch_policy, "batch_policy", ("constant", *_POLICIES)),
        flags(cautious, "cautious"),
        number_span(forget, "forget", high=1.0),
        number_span(forget_squares, "forget_squares", high=1.0),
        number_span(weight_decay, "weight_decay"),
        integer(total_steps, "total_steps", low=1, optional=True),
    )


@dataclass(frozen=True)
class Optimization:
    """See `optimization`."""

    directions: tuple[str, ...]
    learning_rate: tuple[float, float]
    clip: tuple[str, ...]
    schedule: tuple[str, ...]
    averaging: tuple[str, ...]
    batch_policy: tuple[str, ...]
    cautious: tuple[bool, ...]
    forget: tuple[float, float]
    forget_squares: tuple[float, float]
    weight_decay: tuple[float, float]
    total_steps: int | None
    name = "optimization"

    def require_total_steps(self) -> None:
        """Raises a `ValueError` if a schedule lacks the number of steps."""
        _require_steps(self.total_steps, self.schedule)

    def declare(self, hp: "keras_tuner.HyperParameters") -> None:
        """Declares all hyperparameters, those under conditions too."""
        self._read(hp)

    def __call__(
        self,
        hp: "keras_tuner.HyperParameters",
        total_steps: int | None = None,
        *,
        accumulation_steps: int = 1,
    ) -> keras.Optimizer:
        """Returns an optimizer, whose updates are the mean of so many batches."""
        values = self._read(hp)
        steps = self.total_steps if total_steps is None else total_steps
        _require_steps(steps, [values["schedule"]])
        averaging = values["averaging"]
        clip = values["clip"]
        return compose(
            values["direction"],
            clip=None if clip == "none" else _CLIPS[clip][1](values["clip_at"]),
            cautious=values["cautious"],
            averaging=None if averaging == "none" else averaging,
            accumulation_steps=accumulation_steps,
            learning_rate=_scheduled(values, steps),
            **self._options(values),
        )

    def callbacks(
        self, hp: "keras_tuner.HyperParameters", batch_size: int | None = None
    ) -> list[keras.callbacks.Callback]:
        """Returns what `fit` has to be given for the batch policy, new each time.

        With `steps_per_execution`, it has to know the batch size that `fit` is given.
        """
        policy = self._read(hp)["batch_policy"]
        if policy == "constant":
            return []
        grows = _Growing([(0, 1), (1, _POLICIES[policy]())])
        return [DynamicBatchSize(grows, batch_size=batch_size)]

    def _read(self, hp: "keras_tuner.HyperParameters") -> Record:
        with hp.name_scope(self.name):
            return self._ask(Asked(hp))

    def _ask(self, asked: Asked) -> Record:
        values: Record = {
            "direction": asked.choice("direction", self.directions),
            "rate": asked.number(
                "learning_rate", self.learning_rate, log=True, default=1.0
            ),
            "clip": asked.choice("clip", self.clip),
            "schedule": asked.choice("schedule", self.schedule),
            "batch_policy": asked.choice("batch_policy", self.batch_policy),
            "cautious": asked.choice("cautious", self.cautious),
            **self._ask_averaging(asked),
        }
        for rule in self.clip:
            if rule != "none":
                with asked.when("clip", [rule]):
                    at = asked.number(f"clip_{rule}", _CLIPS[rule][0], log=True)
                    values["clip_at"] = at if at is not None else values.get("clip_at")
        with asked.when("schedule", [s for s in self.schedule if s in _WARMED]):
            values["warmup"] = asked.number("warmup", (0.02, 0.4))
        with asked.when("schedule", [s for s in self.schedule if s in _ENDING]):
            values["end"] = asked.number("end", (1e-4, 1.0), log=True)
        with asked.when("direction", self._those(lambda d: d.second)):
            values["second"] = asked.number(
                "forget_squares", self.forget_squares, log=True, default=1e-3
            )
        with asked.when("direction", self._those(lambda d: d.decays)):
            values["decay"] = asked.number("weight_decay", self.weight_decay, log=True)
        return values

    def _those(self, rule: Callable[[_Direction], object]) -> list[str]:
        return [name for name in self.directions if rule(_DIRECTIONS[name])]

    def _ask_averaging(self, asked: Asked) -> Record:
        """Averaging, and the momentum, whose place it may take."""
        free = self._those(lambda d: d.can_be_free)
        others = [name for name in self.directions if name not in free]
        if "schedule_free" not in self.averaging or not others:
            averaging = asked.choice("averaging", self.averaging)
            return {"averaging": averaging, "first": self._ask_first(asked)}
        with asked.when("direction", free):
            averaging = asked.choice("averaging", self.averaging)
            first = self._ask_first(asked)
        kept = [kind for kind in self.averaging if kind != "schedule_free"]
        with asked.when("direction", others):
            # By another name: a name has one list of values.
            other = asked.choice("averaging_with_momentum", kept)
            of_other = asked.number("forget", self.forget, log=True, default=0.1)
        if averaging is not None:
            return {"averaging": averaging, "first": first}
        return {"averaging": other, "first": of_other}

    def _ask_first(self, asked: Asked) -> float | None:
        kinds = [kind for kind in self.averaging if kind != "schedule_free"]
        having = self._those(lambda d: d.first)
        with asked.when("averaging", kinds), asked.when("direction", having):
            return asked.number("forget", self.forget, log=True, default=0.1)

    def _options(self, values: Record) -> Record:
        """Momentum, betas and decay, as the optimizer calls them."""
        kind = _DIRECTIONS[values["direction"]]
        options: Record = {}
        if kind.first:
            # Forgetting all is no momentum, which averaging takes the place of.
            forgotten = 1.0 if values["first"] is None else values["first"]
            options[kind.first] = 1 - forgotten
        if kind.second:
            options[kind.second] = 1 - values["second"]
        if kind.decays:
            options["weight_decay"] = values["decay"]
        return options


def _require_steps(steps: int | None, schedules: Sequence[str]) -> None:
    needy = [schedule for schedule in schedules if schedule != "constant"]
    hint = "Give it to `optimization`, or `SpaceModel` a space of `training`."
    rule = f"given, for the schedule {needy[0] if needy else None}"
    require(steps is not None or not needy, "total_steps", steps, rule, hint)


def _scheduled(
    values: Record, steps: int | None
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate: a number or a schedule."""
    rate = values["rate"] * _DIRECTIONS[values["direction"]].rate
    kind, end = values["schedule"], values["end"]
    if kind == "constant" or steps is None:
        return rate
    warm = max(1, math.ceil((values["warmup"] or 0) * steps))
    rest = max(1, steps - warm)
    if kind == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, steps, alpha=end)
    if kind == "exponential":
        return keras.optimizers.schedules.ExponentialDecay(rate, steps, end)
    if kind == "warmup_cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0, rest, alpha=end, warmup_target=rate, warmup_steps=warm
        )
    if kind == "one_cycle":
        return OneCycle(rate, max(2, steps), pct_start=values["warmup"])
    if kind == "rex":
        return Rex(rate, steps, min_learning_rate=end * rate)
    if kind == "inverse_square_root":
        return InverseSquareRoot(rate, warm)
    return WarmupStableDecay(
        rate, steps, warmup_steps=min(warm, steps // 2), final_learning_rate=end * rate
    )
