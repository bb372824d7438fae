"""Where an optimizer of Keras keeps its learning rate, and how it reads it.

Private names: `_learning_rate`, which may be a schedule, and
`_get_current_learning_rate`.
"""

from typing import Any

from keras_ext._core._typing import Optimizer

# The method that gives the learning rate of the present step.
READ = "_get_current_learning_rate"


def own_learning_rate(optimizer: Optimizer) -> Any:
    """What the optimizer was given: a variable, a schedule or a function."""
    return optimizer._learning_rate
