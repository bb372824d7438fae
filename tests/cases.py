"""Every unit with settings under which it does something; `test_every_*.py` run them.

A new unit gets an entry here; a test says so if it is forgotten. What is checked in
many ways to run (XLA, replicas, saved and loaded) is checked by default of one case of
each mechanism, the `representative`, and with `--thorough` of all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import pytest

from keras_ext import gradients as g
from keras_ext import layers as kl
from keras_ext import optimizers as o
from keras_ext._engine._pipeline_part import PipelinePart
from keras_ext.training import Curvature
from tests.thorough import MATRIX


def parameters(table, *traits):
    """The cases of a table that have all of these traits, as parameters of a test."""
    return [
        pytest.param(case, id=f"{name}-{i}" if i else name)
        for name, cases in table.items()
        for i, case in enumerate(cases)
        if all(getattr(case, trait) for trait in traits)
    ]


def matrix(table, *traits):
    """The same, of which only representatives run without `--thorough`."""
    mark = pytest.mark.thorough(MATRIX)
    return [
        p
        if p.values[0].representative
        else pytest.param(*p.values, id=p.id, marks=mark)
        for p in parameters(table, *traits)
    ]


def mechanism(transform):
    """What a transform acts on, and what it remembers; for one that is built.

    Its weights are (5, 4) and smaller.
    """
    if isinstance(transform, g.UpdateGate):
        acts_on = "updates as a whole"
    elif isinstance(transform, g.UpdateScale):
        acts_on = "what the optimizer did"
    elif isinstance(transform, g.ClipByGroupNorm):
        acts_on = "norms of groups"
    else:
        acts_on = "gradients"
    shapes = [tuple(v.shape) for v in transform.state]
    if any(shape[-2:] == (5, 4) for shape in shapes):
        return acts_on, "numbers of each element"
    return acts_on, "numbers" if any(shapes) else "nothing"


@dataclass(frozen=True)
class TransformCase:
    """How a gradient transform is made, and what cannot be asked of it.

    `make(**selection)` gives a fresh one; `selection` is `include` or `exclude`. The
    settings are such that twelve updates bring out what it does: the gradients have
    norms around 1, one of them a hundred times that, and weights have norms around 1.
    """

    make: Callable[..., PipelinePart]
    # Whether it changes anything while all gradients are finite.
    changes_weights: bool = True
    # Whether the weights it leaves alone are those of a plain run. Not so for a rule
    # that takes or leaves an update as a whole.
    leaves_others_alone: bool = True
    # Whether a gradient of zero stays zero.
    keeps_zero: bool = True
    # Whether it stands for all of its mechanism.
    representative: bool = False


# From the name of the class to the cases of it.
TRANSFORMS = {
    "AdaGC": [
        TransformCase(lambda **kw: g.AdaGC(warmup_steps=3, **kw), representative=True),
        TransformCase(lambda **kw: g.AdaGC(warmup_steps=3, per="unit", **kw)),
    ],
    "AdaptiveClip": [
        TransformCase(
            lambda **kw: g.AdaptiveClip(clipping=0.1, **kw), representative=True
        ),
        TransformCase(lambda **kw: g.AdaptiveClip(clipping=0.1, per="layer", **kw)),
    ],
    "AddNoise": [
        TransformCase(
            lambda **kw: g.AddNoise(scale=0.1, seed=3, **kw),
            keeps_zero=False,
            representative=True,
        )
    ],
    "AutoClip": [
        TransformCase(lambda **kw: g.AutoClip(history=5, **kw)),
        TransformCase(lambda **kw: g.AutoClip(50.0, per="layer", **kw)),
    ],
    "Centralize": [TransformCase(lambda **kw: g.Centralize(**kw))],
    "ClipByGlobalNorm": [
        TransformCase(lambda **kw: g.ClipByGlobalNorm(**kw)),
    ],
    "ClipByNorm": [
        TransformCase(lambda **kw: g.ClipByNorm(**kw)),
        TransformCase(lambda **kw: g.ClipByNorm(per="unit", **kw)),
    ],
    "ClipByValue": [
        TransformCase(lambda **kw: g.ClipByValue(0.3, **kw)),
    ],
    "ClipUpdateRMS": [
        TransformCase(lambda **kw: g.ClipUpdateRMS(0.1, **kw), representative=True),
    ],
    "CoordinateClip": [
        TransformCase(lambda **kw: g.CoordinateClip(**kw), representative=True),
        TransformCase(lambda **kw: g.CoordinateClip(alpha=1.5, **kw)),
    ],
    "DelayGradients": [TransformCase(lambda **kw: g.DelayGradients(3, **kw))],
    "Freeze": [TransformCase(lambda **kw: _frozen_biases(**kw), representative=True)],
    "LayerwiseScale": [
        TransformCase(lambda **kw: g.LayerwiseScale({"kernel": 0.3}, default=0.0, **kw))
    ],
    "NormalizeByLayer": [
        TransformCase(lambda **kw: g.NormalizeByLayer(**kw)),
        TransformCase(
            lambda **kw: g.NormalizeByLayer("weight", per="unit", **kw),
            representative=True,
        ),
    ],
    "SkipNonFinite": [
        TransformCase(
            lambda **kw: g.SkipNonFinite(**kw),
            changes_weights=False,
            leaves_others_alone=False,
        )
    ],
    "SkipSpikes": [
        TransformCase(
            lambda **kw: g.SkipSpikes(warmup_steps=5, **kw),
            leaves_others_alone=False,
            representative=True,
        )
    ],
    "Standardize": [TransformCase(lambda **kw: g.Standardize(**kw))],
    "TrustRatio": [TransformCase(lambda **kw: g.TrustRatio(**{"exclude": None, **kw}))],
    "ZClip": [
        TransformCase(lambda **kw: g.ZClip(warmup_steps=3, max_norm=None, **kw)),
        TransformCase(
            lambda **kw: g.ZClip(warmup_steps=3, rule="mean", per="tensor", **kw)
        ),
    ],
}


@dataclass(frozen=True)
class LayerCase:
    """How a layer that is random while training is made, and for which inputs.

    `make(**kwargs)` gives a fresh one, with noise, and takes `seed`, `dtype` and
    `name`.
    """

    make: Callable[..., Any]
    # The shape of an example.
    shape: tuple[int, ...]
    # What is assigned to make the layer the identity, if anything does.
    quiet: tuple[str, float] | None = ("rate", 0.0)
    # Whether the noise leaves the mean of every input as it is, and whether inference
    # gives that mean.
    keeps_mean: bool = True
    # Whether inference is the identity.
    is_identity: bool = True


# From the name of the class to the cases of it.
LAYERS = {
    "LiveDropout": [LayerCase(lambda **kw: kl.LiveDropout(0.4, **kw), (6,))],
    "ConcreteDropout": [
        LayerCase(
            lambda **kw: kl.ConcreteDropout(_dense(6, **kw), initial_rate=0.4, **kw),
            (6,),
            quiet=None,
        ),
        LayerCase(
            lambda **kw: kl.ConcreteDropout(
                _dense(6, **kw), initial_rate=0.4, spatial=True, temperature=0.05, **kw
            ),
            (3, 6),
            quiet=None,
        ),
    ],
    "DropBlock1D": [
        # The border is dropped less often than the rest.
        LayerCase(lambda **kw: kl.DropBlock1D(0.4, 3, **kw), (8, 2), keeps_mean=False),
    ],
    "DropBlock2D": [
        LayerCase(
            lambda **kw: kl.DropBlock2D(0.4, 2, **kw), (5, 4, 2), keeps_mean=False
        ),
        LayerCase(
            lambda **kw: kl.DropBlock2D(
                0.4, (3, 9), False, data_format="channels_first", **kw
            ),
            (2, 5, 4),
            keeps_mean=False,
        ),
    ],
    "DropBlock3D": [
        LayerCase(
            lambda **kw: kl.DropBlock3D(0.4, 2, **kw), (3, 4, 3, 2), keeps_mean=False
        ),
    ],
    "DropPath": [LayerCase(lambda **kw: kl.DropPath(0.4, **kw), (3, 2))],
    "GroupDropout": [
        LayerCase(lambda **kw: kl.GroupDropout(0.4, 2, **kw), (3, 4)),
        LayerCase(lambda **kw: kl.GroupDropout(0.4, [1, 2], axis=1, **kw), (3, 4)),
    ],
    "ScheduledDropout": [
        LayerCase(
            lambda **kw: kl.ScheduledDropout(0.4, 10**6, schedule="annealed", **kw),
            (6,),
        ),
    ],
    "SparseVariationalDense": [
        LayerCase(
            lambda **kw: kl.SparseVariationalDense(
                6, 0.1, initial_log_variance=-1.0, kernel_initializer="identity", **kw
            ),
            (6,),
            quiet=None,
        ),
    ],
    "Standout": [
        LayerCase(
            lambda **kw: kl.Standout("linear", alpha=0.5, beta=0.1, **kw),
            (6,),
            quiet=("beta", 1e3),
            is_identity=False,
        )
    ],
    "UniformOut": [
        LayerCase(
            lambda **kw: kl.UniformOut(0.5, **kw),
            (6,),
            quiet=("beta", 0.0),
        )
    ],
    "VariationalDropout": [
        LayerCase(partial(kl.VariationalDropout, 0.1, per=per), (6,), quiet=None)
        for per in ("feature", "layer")
    ],
}


def _dense(units: int, dtype: Any = None, **_: Any) -> Any:
    """A layer that does nothing."""
    return keras.layers.Dense(
        units, kernel_initializer="identity", use_bias=False, dtype=dtype
    )


def _frozen_biases(**selection: Any) -> g.Freeze:
    freeze = g.Freeze(**selection)
    freeze.thaw("kernel")
    return freeze


@dataclass(frozen=True)
class OptimizerCase:
    """How an optimizer is made, with settings under which fifty updates move weights.

    `make(**options)` gives a fresh one; the options are those of every Keras optimizer.
    A wrapper hands them to what it wraps.
    """

    make: Callable[..., Any]
    # Whether weights whose gradient was always zero stay where they are.
    keeps_zero: bool = True
    # Whether a smaller learning rate moves the weights less from then on.
    follows_rate: bool = True
    # Whether it may average the weights by itself, as `use_ema` says.
    averages: bool = True
    # Whether a `LossScaleOptimizer` may stand around it; and callbacks that it needs.
    may_be_scaled: bool = True
    callbacks: Callable[[], list[Any]] = list
    # How much less exact it is in half precision than others.
    half: float = 1.0
    # Whose numbers it reproduces, by their name in `fixtures/optimizers.npz`, and of
    # which weights; a type that is fine enough for it.
    oracle: str | None = None
    agrees_on: str = ""
    precision: str = "float32"
    # Whether it stands for all of its mechanism.
    representative: bool = False


def _given(kind: Any, *arguments: Any, **settings: Any) -> Callable[..., Any]:
    """What makes an optimizer with these arguments, or with others of the test."""
    return lambda **given: kind(*arguments, **{**settings, **given})


# From the name of the class to the cases of it.
OPTIMIZERS = {
    "ADMM": [
        OptimizerCase(
            lambda **kw: o.ADMM(
                keras.optimizers.SGD(0.02, **kw), _shrink(), rho=1.0, include=None
            ),
            keeps_zero=False,
        ),
    ],
    "Cautious": [
        OptimizerCase(
            lambda **kw: o.Cautious(o.RAdam(0.05, **kw)),
            half=3.0,  # a sign decides whether something moves
        ),
    ],
    "Lookahead": [
        OptimizerCase(
            lambda **kw: o.Lookahead(o.RAdam(0.05, **kw), momentum="pullback"),
            representative=True,
        ),
        OptimizerCase(
            lambda **kw: o.Lookahead(o.RAdam(0.05, **kw), momentum="reset"),
        ),
    ],
    "Mechanic": [
        OptimizerCase(
            lambda **kw: o.Mechanic(
                keras.optimizers.SGD(1.0, **kw), initial_scale=1e-2
            ),
            follows_rate=False,
            representative=True,
        ),
    ],
    "Proximal": [
        OptimizerCase(
            lambda **kw: o.Proximal(
                keras.optimizers.SGD(0.05, **kw), _shrink(), include=None, every=2
            ),
            keeps_zero=False,
        ),
    ],
    "ScheduleFree": [
        OptimizerCase(
            lambda **kw: o.ScheduleFree(
                o.RAdam(0.05, beta_1=0.0, **kw), rectify=True, warmup_steps=2
            ),
            follows_rate=False,
            averages=False,
        ),
    ],
    "ADOPT": [OptimizerCase(_given(o.ADOPT, 0.01), oracle="ADOPT")],
    "AdEMAMix": [
        OptimizerCase(
            _given(o.AdEMAMix, 0.01, beta_3=0.99, weight_decay=0.1), oracle="AdEMAMix"
        )
    ],
    "AdaBelief": [OptimizerCase(_given(o.AdaBelief, 0.01), oracle="AdaBelief")],
    "AdaBound": [
        OptimizerCase(_given(o.AdaBound, 0.01, weight_decay=0.1), oracle="AdaBound")
    ],
    "AdamMini": [OptimizerCase(_given(o.AdamMini, 0.01), oracle="AdamMini")],
    "Adan": [OptimizerCase(_given(o.Adan, 0.01, weight_decay=0.1), oracle="Adan")],
    "COCOB": [OptimizerCase(_given(o.COCOB), oracle="COCOB")],
    "DAdaptAdam": [
        OptimizerCase(
            _given(o.DAdaptAdam, initial_distance=1e-3, weight_decay=0.1),
            oracle="DAdaptAdam",
            follows_rate=False,  # the gradients in the average had another
        )
    ],
    "DoG": [OptimizerCase(_given(o.DoG, initial_distance=1e-2), oracle="DoG")],
    "DoWG": [OptimizerCase(_given(o.DoWG), oracle="DoWG")],
    "LAMB": [OptimizerCase(_given(o.LAMB, 0.01, weight_decay=0.1), oracle="LAMB")],
    "LARS": [
        OptimizerCase(
            _given(o.LARS, 0.1, trust_coefficient=0.1, weight_decay=0.1),
            oracle="LARS",
            follows_rate=False,  # the last step, which is repeated, had another
        ),
        OptimizerCase(
            _given(
                o.LARS,
                0.1,
                trust_coefficient=0.1,
                denominator="decayed",
                weight_decay=0.1,
            ),
            oracle="LARS optax",
            follows_rate=False,
        ),
    ],
    "LDoG": [OptimizerCase(_given(o.LDoG, initial_distance=1e-2), oracle="LDoG")],
    "Momo": [
        OptimizerCase(
            _given(o.Momo, 0.1, weight_decay=0.1), oracle="Momo", may_be_scaled=False
        ),
        OptimizerCase(
            _given(o.Momo, 0.1, lower_bound=-1.0, adapt_lower_bound=True),
            oracle="Momo adapted",
            may_be_scaled=False,
        ),
    ],
    "MuonConv": [
        OptimizerCase(
            _given(o.MuonConv, 0.01, rms=None, weight_decay=0.1),
            oracle="MuonConv",
            agrees_on="kernel",  # the Adam of the others is Nesterov's there, too
        ),
        OptimizerCase(_given(o.MuonConv, 0.01, nesterov=False), oracle="MuonConv rms"),
    ],
    "NovoGrad": [
        OptimizerCase(
            _given(
                o.NovoGrad,
                0.01,
                beta_1=0.9,
                beta_2=0.25,
                epsilon=1e-6,
                weight_decay=0.1,
            ),
            oracle="NovoGrad",
        )
    ],
    "Prodigy": [
        OptimizerCase(
            _given(o.Prodigy, initial_distance=1e-3, weight_decay=0.1),
            oracle="Prodigy",
            representative=True,
        ),
        OptimizerCase(
            _given(o.Prodigy, initial_distance=1e-3, safeguard_warmup=True),
            oracle="Prodigy safeguarded",
        ),
    ],
    "RAdam": [OptimizerCase(_given(o.RAdam, 0.01), oracle="RAdam")],
    "SGDW": [
        # The others multiply decay by the rate.
        OptimizerCase(_given(o.SGDW, 0.01, weight_decay=0.001), oracle="SGDW"),
        OptimizerCase(
            _given(o.SGDW, 0.01, weight_decay=0.001, nesterov=True),
            oracle="SGDW nesterov",
        ),
    ],
    "SOAP": [
        OptimizerCase(
            _given(o.SOAP, 0.01, update_every=5, weight_decay=0.1),
            oracle="SOAP",
        )
    ],
    "Shampoo": [
        OptimizerCase(
            _given(o.Shampoo, 0.01, momentum=0.0, update_every=1),
            oracle="Shampoo",
            precision="float64",  # of roots of matrices that hardly have an inverse
        )
    ],
    "Sophia": [
        OptimizerCase(
            _given(
                o.Sophia,
                0.01,
                estimator=estimator,
                beta_1=0.9,
                beta_2=0.8,
                gamma=0.2,
                update_every=1,
                weight_decay=0.1,
            ),
            oracle=f"Sophia {estimator}",
            callbacks=lambda: [Curvature()],
            half=3.0,  # a sign decides where something moves to
        )
        for estimator in ("hutchinson", "gauss_newton_bartlett")
    ],
    "Yogi": [OptimizerCase(_given(o.Yogi, 0.01), oracle="Yogi")],
}


def _shrink():
    return o.operators.L1Shrinkage(0.1)
