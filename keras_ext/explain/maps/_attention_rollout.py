"""How much each token has come through the attention to where the model ends."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers as keras_layers

from keras_ext._anatomy._linked_method import Link, Method, linked_calls
from keras_ext._anatomy._sublayers import layer_paths
from keras_ext._core._checks import choice, is_integer, number, require
from keras_ext._core._typing import Data, Layer, Tensor
from keras_ext.explain.maps._question import Question

_HEADS = {"mean": tf.reduce_mean, "max": tf.reduce_max, "min": tf.reduce_min}
_KINDS = (
    keras_layers.MultiHeadAttention,
    keras_layers.GroupQueryAttention,
    keras_layers.Attention,
    keras_layers.AdditiveAttention,
)


def attention_rollout(
    model: keras.Model,
    x: Data,
    *,
    query: int | str = "mean",
    heads: str = "mean",
    residual: float = 0.5,
    layers: Sequence[str] | None = None,
    batch_size: int | str = "auto",
    jit: bool = False,
) -> np.ndarray:
    """Maps how much of each token has come through the self-attention of a model.

    Each attention layer mixes the tokens, and the connection around it keeps them; the
    products of these mixtures, layer after layer, say how much of each token is in each
    place at the end. That is all they say: what the model does with it, and for which
    output, they do not know. Quick, and a look into the model; for what an output rests
    on, see `Explainer`.

    Args:
        model: A built model of any kind with layers of attention, of Keras or derived
            from them, also within layers of your own; called in inference mode.
        x: The rows, as the model takes them: an array, or a list, tuple or dictionary
            of arrays.
        query: Whose mixture is wanted: `"mean"` of all tokens that are not masked, as
            for a model that pools; the number of a token, such as 0 for a class token,
            or -1 for the last; or `"all"`. Defaults to `"mean"`.
        heads: How heads become one: by `"mean"`, `"max"` or `"min"`. Defaults to
            `"mean"`.
        residual: Number in [0, 1]: the part that goes around the attention. Defaults to
            `0.5`.
        layers: List of the attention layers to take, by their names, or their paths
            through nested models. None takes all.
        batch_size: How many rows the model gets at a time, or `"auto"` for a number
            that follows from the memory that a row takes. Defaults to `"auto"`.
        jit: Whether to compile with XLA. Defaults to `False`.

    Returns:
        Array `(rows, tokens)` whose rows add up to 1; for `"all"`, `(rows, tokens,
        tokens)`, with the place at the end first.

    Raises:
        ValueError: If an argument is not of this form, if there is no attention, or if
            it is not among the same tokens everywhere.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> inputs = keras.Input((3, 4))
        >>> mixed = keras.layers.MultiHeadAttention(2, 4, name="mix")(inputs, inputs)
        >>> model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(mixed))
        >>> equal = np.zeros((1, 3, 4))  # each token attends to all equally
        >>> print(kx.explain.maps.attention_rollout(model, equal, query=0).round(3))
        [[0.667 0.167 0.167]]

    References:
        - [Abnar and Zuidema, 2020](https://arxiv.org/abs/2005.00928)
    """
    valid = query in ("mean", "all") if isinstance(query, str) else is_integer(query)
    require(valid, "query", query, 'an integer, "mean" or "all"')
    choice(heads, "heads", tuple(_HEADS))
    residual = number(residual, "residual", low=0, high=1)
    question = Question(model, x, 0, batch_size, jit)
    chosen = _chosen(model, layers)

    def compute(parts: list[Tensor], which: Tensor) -> Tensor:
        seen = _attentions(chosen, lambda: question.function(parts))
        _require_same_tokens(seen)
        rollout = _rolled_out([_HEADS[heads](s.scores, axis=1) for s in seen], residual)
        return _of(query, rollout, seen[-1].mask)[..., None]

    return question.mapped(question.compiled(compute))[..., 0]


@dataclass(frozen=True)
class _Seen:
    """One call of an attention layer.

    Attributes:
        name: The name of the layer.
        scores: `(rows, heads, tokens, tokens)`, in float32.
        mask: Which tokens are no padding, if that is known.
    """

    name: str
    scores: Tensor
    mask: Tensor | None


def _chosen(model: keras.Model, names: Sequence[str] | None) -> list[keras.Layer]:
    paths = {own: p for own, p in layer_paths(model).items() if isinstance(own, _KINDS)}
    kinds = ", ".join(kind.__name__ for kind in _KINDS)
    require(bool(paths), "model", model.name, f"one with layers of the kinds {kinds}")
    if names is None:
        return list(paths)
    valid = isinstance(names, list | tuple) and len(names) > 0
    require(valid, "layers", names, "a list of names or paths, or None")
    found = []
    for name in names:
        same = [own for own, path in paths.items() if name in (own.name, path)]
        rule = f"names or paths of attention layers, of {list(paths.values())}"
        require(bool(same), "layers", name, rule)
        found += same
    return found


def _attentions(
    layers: Sequence[keras.Layer], run: Callable[[], object]
) -> list[_Seen]:
    """What the layers attend to, in the order in which they are called."""
    seen: list[_Seen] = []
    with linked_calls(layers, lambda layer: _noting(layer, seen)):
        run()
    require(bool(seen), "layers", [x.name for x in layers], "called by the model")
    return seen


def _noting(layer: Layer, seen: list[_Seen]) -> Link:
    signature = inspect.signature(layer.call)
    rule = "layers that take `return_attention_scores`"
    known = "return_attention_scores" in signature.parameters
    require(known, "layers", layer.name, rule, "Leave it out.")

    def link(call: Method) -> Method:
        def note(*args: object, **kwargs: object) -> object:
            bound = signature.bind(*args, **kwargs)
            wanted = bound.arguments.get("return_attention_scores", False)
            bound.arguments["return_attention_scores"] = True
            output, scores = call(*bound.args, **bound.kwargs)
            scores = tf.cast(scores, tf.float32)
            if scores.shape.rank == 3:  # a layer without heads
                scores = scores[:, None]
            mask = bound.arguments.get("query_mask", bound.arguments.get("mask"))
            if isinstance(mask, list | tuple):
                mask = mask[0]
            seen.append(_Seen(layer.name, scores, mask))
            return (output, scores) if wanted else output

        return note

    return link


def _require_same_tokens(seen: Sequence[_Seen]) -> None:
    shapes = {s.name: tuple(s.scores.shape[2:]) for s in seen}
    valid = len({n for shape in shapes.values() for n in shape}) == 1
    rule = "given, and attend among the same tokens"
    require(valid, "layers", shapes, rule, "Here are queries and keys of each layer.")


def _rolled_out(attentions: Sequence[Tensor], residual: float) -> Tensor:
    """The product of the mixtures, the last layer first: `(rows, tokens, tokens)`."""
    tokens = attentions[0].shape[-1]
    # Abnar & Zuidema: the product of 0.5 I + 0.5 A, with other parts for 0.5.
    total = tf.eye(tokens)
    for attention in attentions:
        mixture = residual * tf.eye(tokens) + (1 - residual) * attention
        # Of the largest or the smallest of the heads the sum is not 1.
        mixture /= tf.maximum(tf.reduce_sum(mixture, axis=-1, keepdims=True), 1e-12)
        total = mixture @ total
    return total


def _of(query: int | str, rollout: Tensor, mask: Tensor | None) -> Tensor:
    if query == "all":
        return rollout
    if query != "mean":
        tokens = rollout.shape[-1]
        rule = f"the number of one of {tokens} tokens"
        require(-tokens <= query < tokens, "query", query, rule)
        return rollout[:, query]
    if mask is None:
        return tf.reduce_mean(rollout, axis=1)
    counted = tf.cast(mask, tf.float32)
    counted /= tf.maximum(tf.reduce_sum(counted, axis=1, keepdims=True), 1.0)
    return tf.einsum("rq,rqk->rk", counted, rollout)
