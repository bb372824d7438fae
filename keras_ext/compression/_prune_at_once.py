"""Prunes a model without training it."""

from collections.abc import Sequence

import keras

from keras_ext._core._checks import checked_seed, choice, number, require
from keras_ext._core._typing import Data, Pattern, Variable
from keras_ext.compression._criterion import scores_at_once
from keras_ext.compression._input_norms import kernel_layers, reason_without_inputs
from keras_ext.compression._mask_rule import checked_rule
from keras_ext.compression._pruned_weights import candidates
from keras_ext.compression._pruning_report import PruningReport, report_on


def prune(  # noqa: PLR0913
    model: keras.Model,
    sparsity: float,
    *,
    criterion: str = "magnitude",
    x: Data = None,
    scope: str = "layer",
    m_by_n: Sequence[int] | None = None,
    block_size: Sequence[int] | None = None,
    max_layer_sparsity: float = 0.99,
    include: Pattern = None,
    exclude: Pattern = None,
    seed: int | None = None,
) -> PruningReport:
    """Sets the weights of a model that matter least to zero, at once.

    Without training, a model tolerates about 50 % zeros. For more, prune during
    training with `Prune`, or fine-tune afterwards with `KeepZeros`.

    Args:
        model: A built model; its weights are changed.
        sparsity: Number in [0, 1), the share of zeros in the pruned weights.
        criterion: `"magnitude"` to keep what is large; `"activation"` to keep what is
            large and multiplied with what is large, of `Dense` layers and convolutions,
            which is better without training; `"random"` for comparison. Defaults to
            `"magnitude"`.
        x: Some hundred rows to measure activations with, as the model takes them; None
            if they are not needed.
        scope: `"layer"` to give every weight the same sparsity; `"global"` to rank all
            together; `"adaptive"` to rank all together by their squares, each divided
            by the sum of those in its weight that are as large (LAMP), which leaves
            more to small layers. Defaults to `"layer"`.
        m_by_n: As `(m, n)`, zeros in every n entries along the inputs; `sparsity` has
            to be m/n. None for no such pattern.
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
    words = ("magnitude", "activation", "random")
    by_inputs = choice(criterion, "criterion", words) == "activation"
    leaves = keras.tree.flatten(x) if x is not None else []
    fits = bool(leaves) and all(len(getattr(a, "shape", ())) > 0 for a in leaves)
    rule = 'rows for the model with criterion="activation", and None without'
    require(fits if by_inputs else x is None, "x", x, rule)
    most = max_layer_sparsity
    rule_of_masks = checked_rule(m_by_n, block_size, most, scope, criterion)
    if rule_of_masks.m_by_n is not None:
        share = rule_of_masks.m_by_n[0] / rule_of_masks.m_by_n[1]
        # A share such as 1/3 is rarely written with all of its digits.
        fits = abs(sparsity - share) < 1e-6
        require(fits, "sparsity", sparsity, f"{share:g}, as m_by_n={m_by_n} has it")
    seed = checked_seed(seed) or 0
    # What is no model is refused by `candidates`, in its words.
    known = kernel_layers(model) if by_inputs and isinstance(model, keras.Model) else {}

    def reason(variable: Variable) -> str | None:
        against = rule_of_masks.reason_against(tuple(variable.shape))
        if against is None and by_inputs:
            return reason_without_inputs(known, variable)
        return against

    found = candidates(model, include, exclude, reason)
    variables = [c.variable for c in found if c.reason is None]
    values = [keras.ops.convert_to_tensor(v) for v in variables]
    scores = scores_at_once(criterion, model, variables, x, seed)
    groups = [[s] for s in scores] if scope == "layer" else [scores]
    masks = [mask for group in groups for mask in rule_of_masks.masks(group, sparsity)]
    for variable, mask, value in zip(variables, masks, values, strict=True):
        variable.assign(keras.ops.where(mask, value, 0))
    return report_on(found)
