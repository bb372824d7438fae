"""Prunes a model without training it."""

from collections.abc import Sequence

import keras

from keras_ext._core._checks import checked_seed, choice, number, require
from keras_ext._core._typing import Pattern
from keras_ext.compression._mask_rule import SCOPES, checked_rule, score
from keras_ext.compression._pruned_weights import candidates
from keras_ext.compression._pruning_report import PruningReport, report_on


def prune(  # noqa: PLR0913
    model: keras.Model,
    sparsity: float,
    *,
    criterion: str = "magnitude",
    scope: str = "layer",
    m_by_n: Sequence[int] | None = None,
    block_size: Sequence[int] | None = None,
    max_layer_sparsity: float = 0.99,
    include: Pattern = None,
    exclude: Pattern = None,
    seed: int | None = None,
) -> PruningReport:
    """Sets the weights of a model that matter least to zero, at once.

    Without training a model bears some 50 % of zeros. For more, prune while it trains,
    with `Prune`, or fine-tune afterwards with `KeepZeros`.

    Args:
        model: A built model; its weights are changed.
        sparsity: Number in [0, 1), the share of zeros in the pruned weights.
        criterion: `"magnitude"` to keep what is large, `"random"` for comparison.
            Defaults to `"magnitude"`.
        scope: `"layer"` to give every weight the same sparsity, `"global"` to rank all
            together. Defaults to `"layer"`.
        m_by_n: As `(m, n)`, zeros in every n entries along the inputs; `sparsity` has
            to be m/n. None for no such pattern.
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

    Returns:
        What was pruned, and what was skipped for which reason.

    Raises:
        ValueError: If an argument is not of this form, or the model is not built or has
            nothing to prune.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)])
        >>> kx.compression.prune(model, 0.5, m_by_n=(2, 4)).sparsity
        0.5
    """
    sparsity = number(sparsity, "sparsity", low=0, below=1)
    choice(criterion, "criterion", ("magnitude", "random"))
    choice(scope, "scope", SCOPES)
    rule = checked_rule(m_by_n, block_size, max_layer_sparsity)
    if rule.m_by_n is not None:
        share = rule.m_by_n[0] / rule.m_by_n[1]
        fits = abs(sparsity - share) < 1e-6
        require(fits, "sparsity", sparsity, f"{share:g}, as m_by_n={m_by_n} has it")
    seed = checked_seed(seed) or 0
    found = candidates(
        model, include, exclude, lambda v: rule.reason_against(tuple(v.shape))
    )
    variables = [c.variable for c in found if c.reason is None]
    values = [keras.ops.convert_to_tensor(v) for v in variables]
    scores = [score(criterion, w, seed + i) for i, w in enumerate(values)]
    groups = [scores] if scope == "global" else [[s] for s in scores]
    masks = [mask for group in groups for mask in rule.masks(group, sparsity)]
    for variable, mask, value in zip(variables, masks, values, strict=True):
        variable.assign(keras.ops.where(mask, value, 0))
    return report_on(found)
