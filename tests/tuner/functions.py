"""What is searched where nothing is trained."""

import math


def valley(hp):
    """Narrow, mixed, and with a hyperparameter that one of two kinds has."""
    kind = hp.Choice("kind", ["a", "b"])
    x, y = hp.Float("x", -2.0, 2.0), hp.Float("y", 0.01, 1.0, sampling="log")
    cost = (x + math.log10(y)) ** 2 + 0.1 * x**2
    with hp.conditional_scope("kind", ["b"]):
        if kind == "b":
            cost += 0.5 + hp.Int("n", 0, 3)
    return cost


def cliff(hp):
    x = hp.Float("x", 0.0, 1.0)
    return math.inf if x < 0.5 else x


def few(hp):
    return float(hp.Int("a", 0, 1) + hp.Int("b", 0, 2))
