import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext.optimizers import OptimizerSummary, summary


def compiled(optimizer, **of_layer):
    layers = [keras.Input((8,)), keras.layers.Dense(4, name="dense", **of_layer)]
    model = keras.Sequential(layers, name="model")
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize(
    ("optimizer", "names"),
    [
        (lambda: keras.optimizers.SGD(), []),
        (lambda: keras.optimizers.Adam(), ["momentum", "velocity"]),
        (
            lambda: kx.optimizers.Adan(use_ema=True),
            ["average", "momentum", "difference", "velocity", "gradient"],
        ),
    ],
)
def test_what_is_kept_of_each_weight(optimizer, names):
    found = summary(compiled(optimizer()))
    sizes = {"model/dense/kernel": 32, "model/dense/bias": 4}
    assert found.sizes == sizes
    for path, size in sizes.items():
        assert found.slots[path] == dict.fromkeys(names, 4 * size)
    assert found.bytes_per_number == 4 * len(names)
    # The number of updates, and the learning rate.
    assert found.num_bytes == 36 * 4 * len(names) + 8 + 4


def test_slots_of_other_shapes_and_numbers_of_the_model():
    found = summary(compiled(kx.optimizers.LDoG()))
    assert found.slots["model/dense/bias"] == {"start": 16, "distance": 4, "squares": 4}
    found = summary(compiled(kx.optimizers.Prodigy()))
    assert found.other_bytes == 8 + 4 + 2 * 4


def test_layers_of_one_name_are_counted_both():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.other = (keras.layers.Dense(4, name="d") for _ in range(2))

        def call(self, inputs):
            return self.other(self.one(inputs))

    model = Twins()
    model.compile("adam", "mse")
    model(np.ones((1, 4)))
    found = summary(model)
    assert sum(found.sizes.values()) == model.count_params() == 40
    assert found.bytes_per_number == 8


def test_each_of_several_optimizers_has_steps():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("MultiOptimizer is new in Keras 3.15")
    parts = [keras.optimizers.SGD(clipnorm=1.0), kx.optimizers.RAdam()]
    several = keras.optimizers.MultiOptimizer(lambda v: parts["bias" in v.path])
    found = summary(compiled(several))
    assert [step for step in found.steps if step.startswith("for")] == [
        "for the weights of SGD:",
        "for the weights of RAdam:",
    ]
    assert "clips the gradient of each weight to the norm 1.0" in found.steps
    assert found.slots["model/dense/bias"] == {"momentum": 16, "velocity": 16}
    assert found.slots["model/dense/kernel"] == {}


def test_slots_are_made_in_the_strategy_of_the_model(strategies):
    with strategies(2).scope():
        model = compiled(kx.optimizers.Yogi())
    assert summary(model).bytes_per_number == 8


def test_the_order_of_keras_is_that_of_keras():
    adam = keras.optimizers.AdamW(0.1, weight_decay=0.2, global_clipnorm=3.0)
    adam.exclude_from_weight_decay(var_names=["bias"])
    assert summary(compiled(adam)).steps == [
        "clips all gradients together to the norm 3.0",
        "decays weights but 1 of 2 by 0.2, with the rate of AdamW",
        "sums gradients over the replicas",
        "takes the direction of AdamW",
    ]


def test_the_order_in_a_pipeline_within_loss_scaling():
    pipeline = kx.optimizers.GradientPipeline(
        kx.optimizers.RAdam(clipvalue=0.5),
        [
            kx.gradients.ClipUpdateRMS(),
            kx.gradients.Centralize(),
            kx.gradients.SkipSpikes(),
        ],
        accumulation_steps=2,
    )
    scaler = keras.optimizers.LossScaleOptimizer(pipeline)
    model = compiled(scaler, kernel_constraint="non_neg")
    assert summary(model).steps == [
        "divides gradients by the scale of the loss, and skips what overflows",
        "accumulates micro-batches, now 2",
        "sums gradients over the replicas",
        "leaves out updates by SkipSpikes",
        "changes gradients by Centralize",
        "clips gradients to values within 0.5",
        "takes the direction of RAdam",
        "applies the constraints of weights",
        "changes weights by ClipUpdateRMS",
    ]


def test_what_wrappers_and_pipelines_keep_is_told_by_weight_too():
    lookahead = kx.optimizers.Lookahead(kx.optimizers.RAdam())
    pipeline = kx.optimizers.GradientPipeline(lookahead, accumulation_steps=2)
    kept = summary(compiled(pipeline)).slots["model/dense/kernel"]
    assert kept == dict.fromkeys(["sum", "slow", "momentum", "velocity"], 4 * 32)


def test_wrappers_come_after_what_they_wrap():
    inner = kx.optimizers.RAdam(clipnorm=1.0, use_ema=True, ema_momentum=0.9)
    found = summary(compiled(kx.optimizers.Cautious(inner)))
    assert found.steps[-2:] == [
        "changes the update by Cautious",
        "averages weights, keeping 0.9; the model gets them when training ends",
    ]


def test_it_is_of_a_model_that_is_built_and_compiled():
    with pytest.raises(ValueError, match="`model` must be a keras.Model"):
        summary("model")
    with pytest.raises(ValueError, match="built and compiled"):
        summary(keras.Sequential([keras.layers.Dense(1)]))


def test_its_parts_are_checked():
    with pytest.raises(ValueError, match="`steps` must be a list of texts"):
        OptimizerSummary([1], {}, {}, 0)
    with pytest.raises(ValueError, match="`slots` must be a dictionary"):
        OptimizerSummary([], [], {}, 0)
