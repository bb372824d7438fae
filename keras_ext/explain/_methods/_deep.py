"""DeepLIFT, averaged over the background (Deep SHAP)."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_ext._core._typing import Tensor
from keras_ext.explain._calls._record import Call, Record, record_outputs
from keras_ext.explain._lookups import Lookups
from keras_ext.explain._methods._deep_rules import (
    Pairs,
    Rule,
    elementwise,
    general,
    is_general,
    linear,
    rule_of,
)
from keras_ext.explain._paths import divisor
from keras_ext.explain._problem import Attribution, Problem, Rows, gathered
from keras_ext.explain._quadrature import gauss_nodes, output_scale, until_complete

_MOST = 256
# What may be missing of the difference of the outputs, relative to them.
_MISSING = 1e-5


class Deep:
    """Goes through the layers backwards, once for all pairs of row and background row.

    The layers are computed once for the rows and once for the background, and not for
    each pair. Layers without a rule are integrated, with as many nodes as it takes
    until the sum is the difference of the outputs.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._lookups = Lookups(problem.function, problem.background)
        self._at_once = divisor(problem.function.num_outputs)
        self._is_integrated = False  # tracing finds out
        nodes = tf.TensorSpec((None,), tf.float32)
        self._sums = problem.compiled(
            self._contributions,
            problem.rows,
            problem.rows,
            nodes,
            nodes,
            tf.TensorSpec((None, self._at_once), tf.int32),
        )

    def __call__(
        self,
        rows: Rows,
        budget: int | None,
        tolerance: float | None,
        progress: Callable[[int, int], None],
    ) -> Attribution:
        n = self.problem.num_background
        most = _MOST if budget is None else max(1, budget // n)
        return until_complete(
            lambda chosen, nodes: self._explain(rows, chosen, nodes),
            rows,
            most if self._is_integrated else 1,
            _MISSING * output_scale(rows) if tolerance is None else tolerance,
            progress,
        )

    def _explain(self, rows: Rows, chosen: np.ndarray, nodes: int) -> np.ndarray:
        n, problem = self.problem.num_background, self.problem
        # Gradients keep what was computed, as much as three plain rows.
        pairs = max(1, problem.batch_size // (3 * nodes))
        behind_at_once = min(n, pairs)
        rows_at_once = max(1, pairs // behind_at_once)
        t, weights = map(tf.constant, gauss_nodes(nodes))
        shape = (len(chosen), problem.inputs.num_elements, rows.which.shape[1])
        total = np.zeros(shape)
        for r in range(0, len(chosen), rows_at_once):
            some = slice(r, r + rows_at_once)
            x = gathered([part[chosen[some]] for part in rows.parts])
            for b in range(0, n, behind_at_once):
                behind = gathered(
                    [part[b : b + behind_at_once] for part in problem.background]
                )
                for j in range(0, shape[2], self._at_once):
                    which = rows.which[chosen[some], j : j + self._at_once]
                    found = self._sums(x, behind, t, weights, tf.constant(which))
                    total[some, :, j : j + self._at_once] += found.numpy()
        return problem.players.total(total / n)

    def _contributions(
        self,
        x: list[Tensor],
        background: list[Tensor],
        nodes: Tensor,
        weights: Tensor,
        which: Tensor,
    ) -> Tensor:
        """The sums over the background, `(rows, elements, k)`."""
        joined = [tf.concat(pair, axis=0) for pair in zip(x, background, strict=True)]
        found, given, columns = record_outputs(
            self.problem.function, joined, self._lookups
        )
        pairs = Pairs(tf.shape(x[0])[0], tf.shape(background[0])[0], nodes, weights)
        depth = columns.shape[1]
        results = []
        for one in tf.unstack(which, axis=1):
            start = tf.repeat(tf.one_hot(one, depth), pairs.behind, axis=0)
            results.append(self._backwards(found, given, columns, start, pairs))
        return tf.stack(results, axis=-1)

    def _backwards(
        self,
        found: Record,
        given: list[Tensor],
        columns: Tensor,
        start: Tensor,
        pairs: Pairs,
    ) -> Tensor:
        """What the elements contribute, going from call to call: `(rows, elements)`."""
        multipliers: dict[int, Tensor] = {id(columns): start}
        looked_up: np.ndarray = np.zeros(self.problem.inputs.num_elements, bool)
        total = tf.zeros((pairs.rows, len(looked_up)))
        # What takes a tensor comes after what gives it: here all that it adds is known.
        for call in reversed(found.calls):
            outputs = call.outputs
            if not any(id(y) in multipliers for y in outputs):
                continue
            own = [multipliers.get(id(y), tf.zeros_like(pairs.own(y))) for y in outputs]
            lookup = None if call.number is None else self._lookups.calls[call.number]
            if lookup is not None:
                gain = tf.reduce_sum(own[0] * pairs.difference(outputs[0]), axis=-1)
                of_elements = self._lookups.brought(lookup, gain)
                total += _over_background(of_elements, len(looked_up), pairs)
                looked_up[lookup.elements[lookup.elements >= 0]] = True
            elif call.inputs:
                passed = self._rule(call)(call, pairs, own)
                for source, multiplier in zip(call.inputs, passed, strict=True):
                    if multiplier is None:
                        found.lose(call.operation, source)
                    else:
                        _add(multipliers, found.origin(source), multiplier)
        names, split = self.problem.inputs.names, self.problem.inputs.split
        lost = [
            (name, x)
            for name, x, some in zip(names, given, split(looked_up, 0), strict=True)
            if id(x) not in multipliers and not some.any()
        ]
        found.require_followed(columns, lost)
        direct = [self._summed(x, multipliers.get(id(x)), pairs) for x in given]
        return total + tf.concat(direct, axis=1)

    def _rule(self, call: Call) -> Rule:
        if call.operation == "select":
            is_linear = self.problem.function.selects_linearly
            rule: Rule = linear if is_linear else general
        elif call.operation == "link":
            rule = elementwise
        else:
            rule = rule_of(call)
        self._is_integrated |= is_general(rule, call)
        return rule

    def _summed(self, x: Tensor, multiplier: Tensor | None, pairs: Pairs) -> Tensor:
        """The contributions of a part, summed over the background."""
        size = int(np.prod(x.shape[1:]))
        if multiplier is None:
            return tf.zeros((pairs.rows, size))
        difference = pairs.difference(tf.cast(x, tf.float32))
        return _over_background(multiplier * difference, size, pairs)


def _over_background(pairwise: Tensor, size: int, pairs: Pairs) -> Tensor:
    shaped = tf.reshape(pairwise, (pairs.rows, pairs.behind, size))
    return tf.reduce_sum(shaped, axis=1)


def _add(found: dict[int, Tensor], tensor: Tensor, value: Tensor) -> None:
    known = found.get(id(tensor))
    found[id(tensor)] = value if known is None else known + value
