"""Moments and entropies of what is drawn again and again, within one graph."""

from collections.abc import Callable, Sequence

from keras import ops

from keras_ext._core._typing import Tensor

# 0 * log(0) would be NaN.
_TINY = 1e-30


def moments(
    draw: Callable[[], list[Tensor]], samples: int, kinds: Sequence[str]
) -> dict[str, list[Tensor]]:
    """Draws, and says how the draws are spread.

    Args:
        draw: Draws, tensors.
        samples: How often.
        kinds: For each of them `"values"`, `"probabilities"` or `"logits"`.

    Returns:
        For each tensor `"mean"` and `"variance"`, and for those that are no values
        `"entropy"` and `"mutual_information"`.
    """
    uncertain = [i for i, kind in enumerate(kinds) if kind != "values"]

    def sample() -> tuple[list[Tensor], list[Tensor]]:
        drawn = [
            _as_probabilities(_wide(tensor), kind)
            for tensor, kind in zip(draw(), kinds, strict=True)
        ]
        return drawn, [_entropy(drawn[i]) for i in uncertain]

    def add(i: Tensor, state: tuple[list[Tensor], ...]) -> tuple[list[Tensor], ...]:
        # Welford's way, since the mean of the squares may hide the variance.
        means, squares, entropies = state
        drawn, new = sample()
        changes = [d - m for d, m in zip(drawn, means, strict=True)]
        means = [
            m + c / ops.cast(i + 1, m.dtype)
            for m, c in zip(means, changes, strict=True)
        ]
        squares = [
            s + c * (d - m)
            for s, c, d, m in zip(squares, changes, drawn, means, strict=True)
        ]
        return means, squares, [a + b for a, b in zip(entropies, new, strict=True)]

    first, entropies = sample()
    start = (first, [ops.zeros_like(tensor) for tensor in first], entropies)
    means, squares, entropies = ops.fori_loop(1, samples, add, start)
    whole = [_entropy(means[i]) for i in uncertain]
    return {
        "mean": list(means),
        "variance": [square / samples for square in squares],
        "entropy": whole,
        "mutual_information": [
            ops.maximum(all_of_it - inner / samples, 0.0)  # not below by rounding
            for all_of_it, inner in zip(whole, entropies, strict=True)
        ],
    }


def _wide(tensor: Tensor) -> Tensor:
    """In float32, or wider if it is."""
    return tensor if tensor.dtype == "float64" else ops.cast(tensor, "float32")


def _as_probabilities(outputs: Tensor, kind: str) -> Tensor:
    if kind != "logits":
        return outputs
    return ops.sigmoid(outputs) if outputs.shape[-1] == 1 else ops.softmax(outputs)


def _entropy(p: Tensor) -> Tensor:
    """Entropy along the last axis."""
    if p.shape[-1] == 1:
        p = ops.concatenate([p, 1.0 - p], axis=-1)
    return -ops.sum(p * ops.log(ops.maximum(p, _TINY)), axis=-1)
