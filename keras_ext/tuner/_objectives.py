"""What a search is for, and whether more of it is better."""

import re
from collections.abc import Sequence

from keras_tuner import Objective

from keras_ext._core._checks import require
from keras_ext.tuner._cost import COSTS, Cost

# As their names are written in logs, without underscores: "mean_io_u", "MeanIoU".
_MORE = frozenset(
    {
        "acc",
        "accuracy",
        "auc",
        "binaryaccuracy",
        "binaryiou",
        "categoricalaccuracy",
        "concordancecorrelation",
        "cosinesimilarity",
        "dice",
        "f1",
        "f1score",
        "fbetascore",
        "iou",
        "meaniou",
        "onehotiou",
        "onehotmeaniou",
        "pearsoncorrelation",
        "precision",
        "precisionatrecall",
        "r2score",
        "recall",
        "recallatprecision",
        "sensitivityatspecificity",
        "sparsecategoricalaccuracy",
        "sparsetopkcategoricalaccuracy",
        "specificityatsensitivity",
        "topkcategoricalaccuracy",
        "truenegatives",
        "truepositives",
    }
)
_LESS = frozenset(
    {
        "binarycrossentropy",
        "binaryfocalcrossentropy",
        "categoricalcrossentropy",
        "categoricalfocalcrossentropy",
        "categoricalgeneralizedcrossentropy",
        "categoricalhinge",
        "ce",
        "circle",
        "crossentropy",
        "ctc",
        "falsenegatives",
        "falsepositives",
        "hinge",
        "huber",
        "kldivergence",
        "logcosh",
        "logcosherror",
        "loss",
        "mae",
        "mape",
        "meanabsoluteerror",
        "meanabsolutepercentageerror",
        "meansquarederror",
        "meansquaredlogarithmicerror",
        "mse",
        "msle",
        "poisson",
        "rootmeansquarederror",
        "sparsecategoricalcrossentropy",
        "squaredhinge",
        "tversky",
    }
)


def direction_of(name: str) -> str | None:
    """`"max"` or `"min"` of what is logged by a name, None if it is not known.

    Names may begin with `val_`, `weighted_` or that of an output, and end with the
    number that Keras gives to the second of a kind.

    Examples:
        >>> from keras_ext.tuner._objectives import direction_of
        >>> direction_of("val_f1_score"), direction_of("val_head_accuracy_1")
        ('max', 'max')
        >>> direction_of("val_my_metric") is None
        True
    """
    words = re.sub(r"_\d+$", "", name.removeprefix("val_")).lower().split("_")
    # The longest end that is known: "head_accuracy" is an accuracy.
    for start in range(len(words)):
        end = "".join(words[start:])
        if end in _MORE or end in _LESS:
            return "max" if end in _MORE else "min"
    return None


def objective_of(
    given: str | Objective | Sequence[str | Objective] | None,
) -> Objective | list[Objective] | None:
    """What KerasTuner takes as `objective`, with the right direction.

    KerasTuner minimizes what it does not know to be better when larger, F1 scores and
    R2 among them.

    Args:
        given: The name of what is logged or of a `Cost`, a `keras_tuner.Objective`, a
            list of these, or None for what `run_trial` returns.

    Raises:
        ValueError: If it is none of these, or a name whose direction is not known.
    """
    parts = list(given) if isinstance(given, list | tuple) else [given]
    valid = given is None or (
        len(parts) > 0 and all(isinstance(o, str | Objective) for o in parts)
    )
    expected = "a name in the logs, a keras_tuner.Objective, a list of these or None"
    require(valid, "objective", given, expected)
    made = [_directed(part) for part in parts]
    require(
        len({o.name for o in made if o}) == len(made) or given is None,
        "objective",
        given,
        "a list of different names",
    )
    return made if isinstance(given, list | tuple) else made[0]


def _directed(part: str | Objective | None) -> Objective | None:
    if not isinstance(part, str):
        return part
    if part in COSTS:
        return Cost(part)
    direction = direction_of(part)
    require(
        direction is not None,
        "objective",
        part,
        "a name that tells whether more is better",
        f'Say it: keras_tuner.Objective("{part}", "max"), or "min".',
    )
    return Objective(part, direction)


def parts_of(objective: Objective) -> Sequence[Objective]:
    """The single objectives."""
    return getattr(objective, "objectives", [objective])


def cost_of(objective: Objective, value: float) -> float:
    """The value such that less is better."""
    return -value if objective.direction == "max" else value


def require_single(objective: str | Objective | None) -> str | Objective | None:
    """The objective, unless it is a list: KerasTuner would minimize the sum."""
    is_list = isinstance(objective, list | tuple)
    hint = "For several objectives take RandomSearch, GridSearch or OptunaOracle."
    require(not is_list, "objective", objective, "a single objective", hint)
    return objective
