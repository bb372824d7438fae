"""Every unit with settings under which it does something; `test_every_*.py` run them.

A new unit gets an entry here; a test says so if it is forgotten.
"""

from collections.abc import Callable
from dataclasses import dataclass

from keras_ext import gradients as g


@dataclass(frozen=True)
class TransformCase:
    """How a gradient transform is made, and what cannot be asked of it.

    `make(**selection)` gives a fresh one; `selection` is `include` or `exclude`. The
    settings are such that twelve updates bring out what it does: the gradients have
    norms around 1, one of them a hundred times that, and weights have norms around 1.
    """

    make: Callable[..., g.GradientTransform]
    # Whether it changes anything while all gradients are finite.
    changes_weights: bool = True
    # Whether the weights it leaves alone are those of a plain run. Not so for a rule
    # that takes or leaves an update as a whole.
    leaves_others_alone: bool = True
    # Whether a gradient of zero stays zero.
    keeps_zero: bool = True


# From the name of the class to the cases of it.
TRANSFORMS = {
    "AdaptiveClip": [
        TransformCase(lambda **kw: g.AdaptiveClip(clipping=0.1, **kw)),
        TransformCase(lambda **kw: g.AdaptiveClip(clipping=0.1, per="layer", **kw)),
    ],
}
