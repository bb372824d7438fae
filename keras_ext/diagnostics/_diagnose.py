"""Says in words what is wrong with the gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from keras_ext._core._checks import require
from keras_ext._core._tables import html_table
from keras_ext._core._typing import Record

# "Should be somewhere around 1e-3": course notes of CS231n, "Babysitting the learning
# process". Small models that Adam trains well are seen at 1e-2, fine-tuning at 1e-5.
HEALTHY_UPDATE_RATIO = 1e-3
_LARGEST_UPDATE_RATIO = 1e-1
_SMALLEST_UPDATE_RATIO = 1e-5
# "As much as 40% of your network can be dead if the learning rate is set too high":
# CS231n, "Commonly used activation functions".
_MOST_DEAD = 0.4
# Three decades between the first and the last layer, either way. Plain ReLU and
# residual networks of this library's tests stay within one.
_SMALLEST_VANISHING_RATIO = 1e-3
# By so much the norm may grow in a training.
_LARGEST_GROWTH = 1e3
_MOST_CLIPPED = 0.9
# Of the updates; LossScaleOptimizer makes some overflow to find its scale.
_MOST_OVERFLOWS = 0.01
_NEEDED = ("layers", "update", "global", "per_layer")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: `"nonfinite"`, `"exploding"`, `"vanishing"`, `"dead layers"`,
            `"dead units"`, `"learning rate too high"`, `"learning rate too low"` or
            `"always clipping"`.
        message: A sentence, with the numbers that show it.
        advice: What to try.
        layers: The paths of the layers that it is about; empty if it is about all.
        numbers: From name to number, what shows it.
    """

    kind: str
    message: str
    advice: str
    layers: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind.capitalize()}: {self.message} To try: {self.advice}"


class Findings(list[Finding]):
    """A list of findings that prints one on each line."""

    def __str__(self) -> str:
        return "\n".join(f"- {finding}" for finding in self) or "Nothing found."

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if not self:
            return f"<p>{self}</p>"
        rows = [(f.kind, f.message, f.advice, ", ".join(f.layers)) for f in self]
        return html_table([("finding", "what shows it", "to try", "layers"), *rows])


def diagnose(history: keras.callbacks.Callback | Record) -> list[Finding]:
    """Says what is wrong with the gradients of a training, and what to try.

    It knows these problems, and reports each with the numbers that show it:

    - *nonfinite*: gradients that were NaN or infinite; with loss scaling, which makes
      some, more than 1 % of the updates. Named are the layers whose gradients it shows
      in, and those of the first row that has any, if these are fewer. It need not have
      begun there: on some processors ReLU is computed together with its layer and turns
      NaN into zero, which hides it from the layers after it.
    - *exploding*: the gradient norm of the first layer is more than 1000 times that of
      the last one, or the global norm grew to more than 1000 times its smallest value
      before, in the median of the last quarter of the rows.
    - *vanishing*: the gradient norm of the first layer is less than a thousandth of
      that of the last one.
    - *dead layers*: the gradient of a layer was exactly zero in the last quarter.
    - *dead units*: that of more than 40 % of the units of a layer was, in every
      interval of the last quarter. As many are dead "if the learning rate is set too
      high", say the notes of CS231n.
    - *learning rate too high*, *too low*: the update ratio is above 0.1 in the median
      of the rows, or below 1e-5 in all of them. About 1e-3 is healthy according to the
      notes of CS231n; two decades on either side are left alone, since models train
      well in them.
    - *always clipping*: on average more than 90 % of the groups were clipped.

    The limits without a source are choices: far from what healthy models of the tests
    of this library show, and near enough to find the ill ones. A training without
    findings can still be a bad one.

    Args:
        history: A `GradientMonitor` after `fit`, or its `history`.

    Returns:
        A list of findings, the most serious first, which prints one on each line. Each
        has `kind`, `message`, `advice`, `layers` and `numbers`.

    Raises:
        ValueError: If `history` is neither, or nothing was recorded in it.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(10.0), "mse")  # a hundred times too high
        >>> monitor = kx.callbacks.GradientMonitor(every=1)
        >>> x, y = np.ones((64, 2)), np.ones((64, 1))
        >>> log = model.fit(x, y, callbacks=[monitor], epochs=4, verbose=0)
        >>> findings = kx.diagnostics.diagnose(monitor)
        >>> [finding.kind for finding in findings]
        ['exploding', 'learning rate too high']

    References:
        - [CS231n, Neural Networks Part 3](https://cs231n.github.io/neural-networks-3/)
          (update ratio)
        - [CS231n, Neural Networks Part 1](https://cs231n.github.io/neural-networks-1/)
          (dead units)
        - [Glorot & Bengio, 2010](https://proceedings.mlr.press/v9/glorot10a.html)
          (vanishing)
    """
    history = getattr(history, "history", history)
    valid = isinstance(history, Mapping) and all(key in history for key in _NEEDED)
    require(valid, "history", type(history), "a GradientMonitor or its history")
    recorded(history)
    findings = Findings()
    for rule in (
        _nonfinite,
        _exploding,
        _vanishing,
        _dead_layers,
        _dead_units,
        _learning_rate,
        _always_clipping,
    ):
        findings += rule(history)
    return findings


def recorded(history: Record) -> Record:
    """The history, if anything was recorded in it; a `ValueError` if not."""
    count = len(history["update"])
    hint = "Nothing was recorded: pass the GradientMonitor to a `fit` before."
    require(count > 0, "history", f"{count} rows", "of one row or more", hint)
    return history


def _late(values: np.ndarray) -> np.ndarray:
    """The last quarter of the rows in which an update was measured."""
    values = values[np.isfinite(values).any(axis=tuple(range(1, values.ndim)))]
    return values[-max(1, len(values) // 4) :]


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _nonfinite(history: Record) -> list[Finding]:
    count = float(history["global"]["nonfinite"][-1])
    tried = count + float(history["update"][-1])
    share = count / tried
    if not count or (history.get("loss_is_scaled") and share <= _MOST_OVERFLOWS):
        return []
    where, bad = _where_nonfinite(history)
    return [
        Finding(
            "nonfinite",
            f"the gradient was NaN or infinite in {count:g} of {tried:g} updates"
            f"{where}.",
            "look for NaN in the data, and for logarithms, roots and divisions by zero "
            "in the loss; lower the learning rate; clip the gradient.",
            bad,
            {"count": count, "share": share},
        )
    ]


def _where_nonfinite(history: Record) -> tuple[str, tuple[str, ...]]:
    """In words, and the layers; there are none if only the sum of all overflows."""
    counts = history["per_layer"]["nonfinite"]
    counts = counts[(counts > 0).any(axis=1)]
    if not len(counts):
        return "", ()
    layers = np.array(history["layers"])
    bad = tuple(layers[counts[-1] > 0].tolist())
    first = tuple(layers[counts[0] > 0].tolist())
    everywhere = len(bad) == len(layers)
    where = ", in all layers" if everywhere else f", in {_named(bad)}"
    if len(first) < len(bad):
        where += f", first in {_named(first)}"
    if not everywhere:
        where += "; it may be in others too, where an activation such as ReLU hides it"
    return where, bad


def _exploding(history: Record) -> list[Finding]:
    findings = []
    ratio = _median(_late(history["global"]["vanishing_ratio"]))
    if ratio > 1.0 / _SMALLEST_VANISHING_RATIO:
        findings.append(
            Finding(
                "exploding",
                f"the gradient norm of the first layer is {ratio:.2g} times that of "
                "the last one.",
                "a smaller initialization, normalization layers or residual "
                "connections; clip the gradient.",
                numbers={"vanishing_ratio": ratio},
            )
        )
    norms = history["global"]["gradient_norm"]
    norms = norms[norms > 0]
    late = _late(norms)
    before = norms[: len(norms) - len(late)]
    if len(before) and _median(late) > _LARGEST_GROWTH * before.min():
        smallest, largest = float(before.min()), _median(late)
        findings.append(
            Finding(
                "exploding",
                f"the gradient norm grew from {smallest:.2g} to {largest:.2g}.",
                "a learning rate that is ten times lower, or warmed up; clip the "
                "gradient.",
                numbers={"smallest_norm": smallest, "late_norm": largest},
            )
        )
    return findings


def _vanishing(history: Record) -> list[Finding]:
    ratio = _median(_late(history["global"]["vanishing_ratio"]))
    # Zero is another illness.
    if not 0 < ratio < _SMALLEST_VANISHING_RATIO:
        return []
    return [
        Finding(
            "vanishing",
            f"the gradient norm of the first layer is {ratio:.2g} times that of the "
            "last one.",
            "ReLU or a relative in place of sigmoid or tanh, an initialization made "
            "for the activation, normalization layers, residual connections.",
            numbers={"vanishing_ratio": ratio},
        )
    ]


def _is_dead(history: Record) -> np.ndarray:
    """Which layers had no gradient, of their biases neither."""
    late = _late(history["per_layer"]["gradient_norm"])
    # Where no update was measured, as of gradients that are all NaN, nothing is known.
    return (late == 0).all(axis=0) & (len(late) > 0)


def _dead_layers(history: Record) -> list[Finding]:
    dead = tuple(np.array(history["layers"])[_is_dead(history)].tolist())
    if not dead:
        return []
    return [
        Finding(
            "dead layers",
            f"the gradient of {len(dead)} of {len(history['layers'])} layers is just "
            f"zero: {_named(dead)}. The last of them lets nothing through.",
            "look at the activation of that layer and at its bias; lower the learning "
            "rate, if it began to be zero while training; or exclude the layer, if the "
            "loss does not depend on it.",
            dead,
            {"layers": float(len(dead))},
        )
    ]


def _dead_units(history: Record) -> list[Finding]:
    fractions = _late(history["per_layer"]["dead_fraction"])
    if not len(fractions):
        return []
    # What all intervals have, and is not said already.
    least = np.where(_is_dead(history), 0.0, np.nan_to_num(fractions.min(axis=0)))
    bad = tuple(np.array(history["layers"])[least > _MOST_DEAD].tolist())
    if not bad:
        return []
    return [
        Finding(
            "dead units",
            f"more than {_MOST_DEAD:.0%} of the units had no gradient in "
            f"{_named(bad)}; at most {least.max():.0%}.",
            "a lower learning rate, leaky ReLU or another activation that is never "
            "flat, a smaller or zero initial bias; or fewer units.",
            bad,
            {"dead_fraction": float(least.max())},
        )
    ]


def _learning_rate(history: Record) -> list[Finding]:
    ratios = history["global"]["update_ratio"]
    ratios = ratios[np.isfinite(ratios)]
    if not len(ratios):
        return []
    median, largest = _median(ratios), float(ratios.max())
    healthy = f"about {HEALTHY_UPDATE_RATIO:g} is healthy"
    if median > _LARGEST_UPDATE_RATIO:
        return [
            Finding(
                "learning rate too high",
                f"an update changes the weights by {median:.2g} of their norm; "
                f"{healthy}.",
                # Down to ten times what is healthy, and no further.
                f"a learning rate that is {_factor(median / 10)} times lower.",
                numbers={"update_ratio": median},
            )
        ]
    if largest < _SMALLEST_UPDATE_RATIO:
        return [
            Finding(
                "learning rate too low",
                f"no update changed the weights by more than {largest:.2g} of their "
                f"norm; {healthy}.",
                # Up to a tenth of what is healthy.
                f"a learning rate that is {_factor(largest * 10)} times higher."
                if largest > 0
                else "a learning rate above zero.",
                numbers={"update_ratio": largest},
            )
        ]
    return []


def _always_clipping(history: Record) -> list[Finding]:
    fractions = history["global"]["clipped_fraction"]
    fractions = fractions[np.isfinite(fractions)]
    if not len(fractions) or fractions.mean() <= _MOST_CLIPPED:
        return []
    mean = float(fractions.mean())
    return [
        Finding(
            "always clipping",
            f"{mean:.0%} of what can be clipped is clipped on average: the limits, and "
            "no longer the gradients, say how long the updates are.",
            "a higher threshold; or a rule that adapts it.",
            numbers={"clipped_fraction": mean},
        )
    ]


def _named(layers: Sequence[str]) -> str:
    """Names the first and the last ones of many."""
    if len(layers) > 4:
        layers = [*layers[:2], "...", layers[-1]]
    return ", ".join(layers)


def _factor(ratio: float) -> str:
    """By how much an update ratio is off, as a power of ten."""
    return f"{10.0 ** abs(round(np.log10(ratio / HEALTHY_UPDATE_RATIO))):g}"
