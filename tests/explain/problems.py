"""What a method is given, and Shapley values by their definition."""

from itertools import permutations

import numpy as np

from keras_ext.explain._inputs import Inputs
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._players import Players
from keras_ext.explain._problem import Problem, Rows, gathered


def problem_of(
    model, background, *, groups=None, outputs=None, batch_size=64, group=None
):
    """The problem of a model and a background."""
    inputs = Inputs(model, background)
    parts = inputs.parts(background)
    function = ModelFunction(model, inputs, parts, outputs)
    players = Players(inputs, groups, inputs.element_names())
    return Problem(function, parts, players, batch_size, group=group)


def rows_of(problem, x):
    """Rows to explain."""
    parts = problem.inputs.parts(x)
    values, background = (
        problem.function(gathered(part)).numpy() for part in (parts, problem.background)
    )
    return Rows(parts, values, problem.function.which(values), background)


def brought(value, order):
    """What each player brings who comes in this order: `value` is of who has come."""
    come = np.zeros(len(order), bool)
    found, before = np.zeros(len(order)), value(come)
    for player in order:
        come[player] = True
        found[player], before = value(come) - before, value(come)
    return found


def shapley_values(value, players, orders=None):
    """The mean over all orders."""
    every = permutations(range(players)) if orders is None else orders
    return np.mean([brought(value, order) for order in every], axis=0)


def game(formula, x, background):
    """The value of coalitions for one row, the mean over a background."""
    return lambda come: np.mean([formula(*np.where(come, x, b)) for b in background])


def silent(done, total):
    """Shows no progress."""
