"""The line that each callback prints when it has decided something, in a `fit`."""

import re

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext import callbacks as c
from keras_ext._fit._copyable_callback import CopyableCallback
from keras_ext.callbacks._announcement import tell

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6)).astype("float32")
Y = RNG.normal(size=(64, 1)).astype("float32")
PROBE = (X[:16], Y[:16])
BATCHES = kx.data.DynamicBatches(X, Y, batch_size=16, seed=0)


class More:
    """A controller that always wants more."""

    def update(self, gap):
        return 0.5


# From the callback to how it is made and the line that two epochs of it bring about.
LINES = {
    "AdaptiveDropout": (
        lambda **kw: c.AdaptiveDropout(
            PROBE, PROBE, warmup_epochs=0, controller=More(), guards=False, **kw
        ),
        r"AdaptiveDropout: mean dropout rate 0\.10 -> 0\.2\d; raised in 2 epochs, "
        r"lowered in 0\.",
    ),
    "AdaptiveRegularization": (
        lambda **kw: c.AdaptiveRegularization(
            PROBE, PROBE, rule="gap", controller=More(), warmup_epochs=0, **kw
        ),
        r"AdaptiveRegularization: .*\.",
    ),
    "BanditLearningRate": (
        lambda **kw: c.BanditLearningRate(PROBE, every=2, seed=0, **kw),
        r"BanditLearningRate: the learning rate was multiplied by [\d.]+ in the end.*",
    ),
    "BatchSizeFinder": (
        lambda **kw: c.BatchSizeFinder(
            BATCHES, mode="largest", sizes=[16], steps=1, **kw
        ),
        r"BatchSizeFinder: batches of 16 samples, the largest of 16\.",
    ),
    "DropoutBatchNormBalance": (
        lambda **kw: c.DropoutBatchNormBalance(PROBE, **kw),
        r"DropoutBatchNormBalance: dropout -> norm: the variance .* of training\.",
    ),
    "DynamicBatchSize": (
        lambda **kw: c.DynamicBatchSize([(1, 2)], batch_size=16, **kw),
        r"Epoch 2: DynamicBatchSize: an update takes 32 samples, up to now 16\.",
    ),
    "FreezeConverged": (
        lambda **kw: c.FreezeConverged(1e9, include="head/bias", **kw),
        r"Epoch 2: FreezeConverged: 1 of 1 weights are frozen, 5% of all numbers\.",
    ),
    "GradualUnfreezing": (
        lambda **kw: c.GradualUnfreezing([(1, "head")], **kw),
        r"Epoch 2: GradualUnfreezing: what fits 'head' is trained from now on\.",
    ),
    "HypergradientLearningRate": (
        lambda **kw: c.HypergradientLearningRate(**kw),
        r"HypergradientLearningRate: the learning rate was multiplied by .* end\.",
    ),
    "LayerwiseAdaptiveClipping": (
        lambda **kw: c.LayerwiseAdaptiveClipping(1e-6, **kw),
        r"Epoch 1: LayerwiseAdaptiveClipping: \d+% of the units were clipped: raise "
        r"`clipping`\.",
    ),
    "LearningRateFinder": (
        lambda **kw: c.LearningRateFinder(PROBE, steps=40, **kw),
        r"LearningRateFinder: the learning rate is [\d.e-]+, by the rule 'valley'\.",
    ),
    "LearningRateMultiplier": (
        lambda **kw: c.LearningRateMultiplier(
            kx.controllers.Plateau(patience=1, min_delta=9.0), monitor="loss", **kw
        ),
        r"LearningRateMultiplier: the learning rate was multiplied by 0\.5 .* end\.",
    ),
    "PostLocalSGD": (
        lambda **kw: c.PostLocalSGD(4, start_epoch=1, **kw),
        r"Epoch 2: PostLocalSGD: replicas average their weights every 4 steps from "
        r"now on\.",
    ),
    "ReinforcedLearningRate": (
        lambda **kw: c.ReinforcedLearningRate(PROBE, every=2, **kw),
        r"ReinforcedLearningRate: the learning rate was multiplied by [\d.]+ in .*",
    ),
    "StochasticWeightAveraging": (
        lambda **kw: c.StochasticWeightAveraging(1, train_data=PROBE, **kw),
        r"StochasticWeightAveraging: the mean of the weights of 1 epoch is on .*",
    ),
}
# Those that can be in one training: a training takes seconds to be traced.
TOGETHER = [
    (
        "AdaptiveDropout",
        "DropoutBatchNormBalance",
        "DynamicBatchSize",
        "FreezeConverged",
        "GradualUnfreezing",
        "HypergradientLearningRate",
        "LayerwiseAdaptiveClipping",
    ),
    ("AdaptiveRegularization", "BanditLearningRate"),
    ("LearningRateFinder", "LearningRateMultiplier", "StochasticWeightAveraging"),
    ("PostLocalSGD", "ReinforcedLearningRate"),
    ("BatchSizeFinder",),
]
# They print whenever they stop a training, see their base.
STOPPERS = {name for name in c.__all__ if "Stopping" in name} | {"StopWhen"}
# Somebody else decides, in advance, or nobody does.
SILENT = {
    "ElasticAveraging",
    "GradientCallback",
    "GradientMonitor",
    "HyperparameterScheduler",
    "LayerwiseDecay",
    "LocalSGD",
    "MomentumSchedule",
    "OneCycle",
    "RecalibrateBatchNorm",
    "SnapshotEnsemble",
}


def test_every_callback_is_in_one_of_the_tables():
    assert {*LINES, *STOPPERS, *SILENT} == set(c.__all__)
    assert sorted(LINES) == sorted(name for names in TOGETHER for name in names)
    assert len(LINES) + len(STOPPERS) + len(SILENT) == len(c.__all__)


def fit(*callbacks, **options):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dropout(0.1, name="dropout"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dense(1, name="head"),
    ]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    data = [X, Y]
    if any(isinstance(callback, c.BatchSizeFinder) for callback in callbacks):
        data = [BATCHES]
    sizes = {} if len(data) == 1 else {"batch_size": 16}
    model.fit(*data, epochs=2, callbacks=[*callbacks], **sizes, **options)


@pytest.mark.parametrize("names", TOGETHER, ids=",".join)
def test_each_says_what_it_has_decided(names, capsys):
    fit(*(LINES[name][0]() for name in names), verbose=2)
    shown = capsys.readouterr().out.splitlines()
    for name in names:
        assert any(re.fullmatch(LINES[name][1], text) for text in shown), shown


@pytest.mark.parametrize("name", LINES)
def test_each_can_be_silent(name):
    make, _ = LINES[name]
    assert (make().verbose, make(verbose=0).verbose) == (1, 0)


class Deciding(CopyableCallback):
    """Says something at the end of each epoch."""

    def __init__(self, verbose):
        super().__init__()
        self.verbose = verbose

    def on_epoch_end(self, epoch, logs=None):
        tell(self, "something", epoch=epoch)


@pytest.mark.parametrize(
    ("own", "of_fit", "count"), [(1, 2, 2), (1, 1, 2), (0, 2, 0), (1, 0, 0)]
)
def test_a_line_unless_it_or_fit_is_silent(own, of_fit, count, capsys):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    options = {"epochs": 2, "callbacks": [Deciding(own)], "verbose": of_fit}
    model.fit(X[:2], Y[:2], **options)
    lines = capsys.readouterr().out.splitlines()
    spoken = [i for i, line in enumerate(lines) if "something" in line]
    assert len(spoken) == count
    for epoch, i in enumerate(spoken):
        # Below the last numbers of the progress bar.
        assert lines[i] == f"Epoch {epoch + 1}: Deciding: something."
        assert "loss: " in lines[i - 1]


def test_updates_that_were_left_out_are_spoken_of_once(capsys):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    bad = np.where(np.arange(64)[:, None] == 0, np.nan, Y)
    pair = [c.LayerwiseAdaptiveClipping(verbose=0), c.GradientMonitor()]
    model.fit(X, bad, batch_size=16, epochs=2, callbacks=pair, verbose=2)
    lines = [x for x in capsys.readouterr().out.splitlines() if "left out" in x]
    text = "GradientMonitor: NaN or infinite gradients, 1 update left out."
    assert lines == [f"Epoch 1: {text}", f"Epoch 2: {text}"]
