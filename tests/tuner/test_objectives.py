"""Directions, against metrics of Keras that are asked what is better."""

import keras
import keras_tuner
import numpy as np
import pytest

from keras_ext.tuner._objectives import direction_of, objective_of, require_single

TRUTH = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], "float32")
GOOD = np.array([[0.9, 0.1], [0.1, 0.9], [0.8, 0.2], [0.2, 0.8]], "float32")
BAD = np.array([[0.4, 0.6], [0.6, 0.4], [0.1, 0.9], [0.2, 0.8]], "float32")
ARGUMENTS = {
    "IoU": {"num_classes": 2, "target_class_ids": [0, 1]},
    "BinaryIoU": {"threshold": 0.5},
    "MeanIoU": {"num_classes": 2},
    "OneHotIoU": {"num_classes": 2, "target_class_ids": [0, 1]},
    "OneHotMeanIoU": {"num_classes": 2},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.9},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "TopKCategoricalAccuracy": {"k": 1},
    "SparseTopKCategoricalAccuracy": {"k": 1},
}
# Of what they are given, and nothing is better.
NEITHER = {"Mean", "MeanMetricWrapper", "Metric", "Sum"}
METRICS = sorted(
    name
    for name, kind in vars(keras.metrics).items()
    if isinstance(kind, type) and name not in NEITHER and name == kind.__name__
)


@pytest.mark.parametrize("name", METRICS)
def test_direction_is_what_the_metric_of_keras_says_of_better_predictions(name):
    values = []
    for predicted in (GOOD, BAD):
        metric = getattr(keras.metrics, name)(**ARGUMENTS.get(name, {}))
        truth = TRUTH
        if "Sparse" in name:
            truth = TRUTH.argmax(axis=1)
        elif name == "Accuracy" or name in ("IoU", "MeanIoU"):
            predicted = predicted.round()
        metric.update_state(truth, predicted)
        values.append(float(np.mean(metric.result())))
    assert values[0] != values[1]
    direction = "max" if values[0] > values[1] else "min"
    assert direction_of(name) == direction
    assert direction_of(f"val_{metric.name}") == direction  # some names end with "_1"
    assert direction_of(f"val_head_{metric.name}") == direction


def test_stock_has_the_direction_of_these_wrong():
    """On stock 1.4.8 the search keeps the worst F1 and the worst R2."""
    for name in ("val_f1_score", "val_r2_score", "val_cosine_similarity"):
        oracle = keras_tuner.oracles.RandomSearchOracle(name)
        assert oracle.objective.direction == "min"
        assert objective_of(name).direction == "max"
    with pytest.raises(TypeError, match="num_classes"):
        keras_tuner.oracles.RandomSearchOracle("val_mean_io_u")


def test_losses_are_minimized():
    names = ("loss", "val_loss", "val_head_loss", "mse", "val_mae", "val_kl_divergence")
    assert {direction_of(name) for name in names} == {"min"}


def test_objectives_and_lists_pass():
    own = keras_tuner.Objective("val_mine", "max")
    assert objective_of(own) is own
    assert objective_of(None) is None
    both = objective_of(["val_loss", own])
    assert [(o.name, o.direction) for o in both] == [
        ("val_loss", "min"),
        ("val_mine", "max"),
    ]


def test_unknown_is_an_error_that_says_what_to_write():
    with pytest.raises(ValueError, match=r'Objective\("val_mine", "max"\), or "min"'):
        objective_of("val_mine")
    with pytest.raises(ValueError, match="different names"):
        objective_of(["loss", "loss"])
    with pytest.raises(ValueError, match="For several objectives take"):
        require_single(["loss", "accuracy"])
