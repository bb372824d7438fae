"""Optimizers put together from stages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_ext._anatomy._unit_axes import Axes
from keras_ext._core._checks import flag, is_number, require, takes
from keras_ext._core._typing import Optimizer
from keras_ext._engine._gradient_pipeline import GradientPipeline
from keras_ext._engine._gradient_transform import GradientTransform
from keras_ext._engine._pipeline_part import PipelinePart
from keras_ext._engine._update_gate import UpdateGate
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.gradients.clip._clip_by_global_norm import ClipByGlobalNorm
from keras_ext.gradients.scale._trust_ratio import TrustRatio
from keras_ext.optimizers._get import named
from keras_ext.optimizers.operators._operator import Operator
from keras_ext.optimizers.wrappers._cautious import Cautious
from keras_ext.optimizers.wrappers._lookahead import Lookahead
from keras_ext.optimizers.wrappers._proximal import Proximal
from keras_ext.optimizers.wrappers._schedule_free import ScheduleFree

Parts = PipelinePart | Sequence[PipelinePart] | None
# From an optimizer to the one around it.
Wrap = Callable[[Optimizer], Optimizer]

_AVERAGING = {"lookahead": Lookahead, "schedule_free": ScheduleFree}


def compose(  # noqa: PLR0913
    direction: str | Optimizer = "adam",
    *,
    normalize: Parts = None,
    clip: float | Parts = None,
    perturb: Parts = None,
    cautious: bool = False,
    trust_ratio: bool | TrustRatio = False,
    operator: Operator | None = None,
    averaging: str | Wrap | None = None,
    accumulation_steps: int | HyperVariable = 1,
    unit_axes: Mapping[str, Axes] | None = None,
    **options: object,
) -> Optimizer:
    """Puts an optimizer together from stages, each of which may be left out.

    In an update they act in this order, whatever the order of the arguments:

    1. micro-batches are accumulated, and summed over the replicas,
    2. `normalize`, `clip` and `perturb` change the gradient,
    3. `direction` turns it into a move, at the rate of its schedule, and `cautious`
       masks it,
    4. weight decay is added, which `trust_ratio` counts, as in LAMB,
    5. `operator` brings weights nearer to what a penalty or a set asks for,
    6. `averaging` averages what comes out. After an `operator`, a mean has fewer zeros
       than the weights it is of.

    So every combination can be had, in a study for example, and is one optimizer with
    one learning rate: it is saved with a model, takes callbacks and mixed precision,
    and gives the same weights on any number of replicas. The result consists of
    `GradientPipeline`, `Cautious`, `Proximal`, `Lookahead` and `ScheduleFree`, as far
    as they are needed.

    Args:
        direction: The name of an optimizer of Keras or of this library, such as
            `"sgd"`, `"adamw"` or `"RAdam"`; or an optimizer. Defaults to `"adam"`.
        normalize: Transforms such as `keras_ext.gradients.Centralize()`, one or a list.
            None means none.
        clip: The largest norm of the whole gradient, a number > 0; or transforms such
            as `keras_ext.gradients.AdaptiveClip()`, one or a list, also of
            `UpdateGate`s. None means none.
        perturb: Transforms such as `keras_ext.gradients.AddNoise()`, one or a list.
            None means none.
        cautious: Whether to move weights only against the gradient, see `Cautious`.
            Defaults to `False`.
        trust_ratio: Whether steps are as long as the weights that they move, or a
            `keras_ext.gradients.TrustRatio`. Defaults to `False`.
        operator: One of `keras_ext.optimizers.operators`, see `Proximal`; with
            `trust_ratio` its metric is `"euclidean"`. None means none.
        averaging: `"ema"`, with the option `ema_momentum`; `"lookahead"`; or
            `"schedule_free"`, for a direction without momentum; or a function from the
            optimizer to one around it, such as
            `lambda inner: Lookahead(inner, sync_period=10)`. None means none.
        accumulation_steps: Integer >= 1, how many micro-batches an update is the mean
            of, see `GradientPipeline`. Defaults to `1`.
        unit_axes: What `keras_ext.optimizers.unit_axes(model)` returns, for stages that
            work per unit. None means without.
        **options: Arguments of the direction, if it is a name: `learning_rate`, also a
            schedule, `weight_decay`, `momentum` and so on.

    Returns:
        The optimizer.

    Raises:
        ValueError: If an argument is not of this form, or two stages do not fit.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> optimizer = kx.optimizers.compose(
        ...     "adamw",
        ...     learning_rate=keras.optimizers.schedules.CosineDecay(1e-3, 10_000),
        ...     weight_decay=0.01,
        ...     clip=1.0,
        ...     trust_ratio=True,
        ...     averaging="lookahead",
        ... )
        >>> type(optimizer).__name__, type(optimizer.optimizer).__name__
        ('Lookahead', 'GradientPipeline')
        >>> [type(part).__name__ for part in optimizer.optimizer.transforms]
        ['ClipByGlobalNorm', 'TrustRatio']
    """
    is_named = isinstance(averaging, str)
    if is_named and averaging == "ema":
        # Keras averages within the direction, and makes the averages with it.
        options["use_ema"] = True
    optimizer = named("direction", direction, options)
    if flag(cautious, "cautious"):
        optimizer = Cautious(optimizer)
    parts = [
        *_parts(normalize, "normalize"),
        *_clipping(clip),
        *_parts(perturb, "perturb"),
        *_ratio(trust_ratio),
    ]
    fits = not trust_ratio or not is_named or averaging != "ema"
    rule = 'another one than "ema", whose averages would be of steps before it'
    require(fits, "averaging", averaging, f"{rule}, with a trust ratio")
    # Made in any case: it checks the steps, and knows whether they can grow.
    pipeline = GradientPipeline(
        optimizer, parts, accumulation_steps=accumulation_steps, unit_axes=unit_axes
    )
    if parts or pipeline.accumulates:
        optimizer = pipeline
    if operator is not None:
        # No operator knows steps that depend on the norm of a weight.
        metric = "euclidean" if trust_ratio else "optimizer"
        optimizer = Proximal(optimizer, operator, metric=metric, unit_axes=unit_axes)
    return _averaged(optimizer, averaging)


def _parts(given: Parts, name: str) -> list[PipelinePart]:
    kinds = (GradientTransform, UpdateGate)
    parts = [] if given is None else given
    parts = [parts] if isinstance(parts, PipelinePart) else parts
    valid = isinstance(parts, list | tuple) and all(isinstance(p, kinds) for p in parts)
    rule = "one of keras_ext.gradients that changes gradients, a list of them, or None"
    require(valid, name, given, rule)
    return list(parts)


def _clipping(clip: Any) -> list[PipelinePart]:
    if not is_number(clip):
        return _parts(clip, "clip")
    require(clip > 0, "clip", clip, "a number > 0, or one of keras_ext.gradients")
    return [ClipByGlobalNorm(float(clip))]


def _ratio(trust_ratio: bool | TrustRatio) -> list[PipelinePart]:
    if isinstance(trust_ratio, TrustRatio):
        return [trust_ratio]
    return [TrustRatio()] if flag(trust_ratio, "trust_ratio") else []


def _averaged(optimizer: Optimizer, averaging: str | Wrap | None) -> Optimizer:
    rule = '"ema", "lookahead", "schedule_free", a function of an optimizer, or None'
    is_named = isinstance(averaging, str)
    if averaging is None or (is_named and averaging == "ema"):
        return optimizer
    if callable(averaging):
        require(takes(averaging, 1), "averaging", averaging, rule)
        around = averaging(optimizer)
        require(
            isinstance(around, keras.optimizers.Optimizer),
            "averaging",
            averaging,
            "a function that returns an optimizer",
        )
        return around
    require(is_named and averaging in _AVERAGING, "averaging", averaging, rule)
    return _AVERAGING[averaging](optimizer)
