"""A training that was killed and goes on is like one that nothing has disturbed."""

import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import cloudpickle
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext import callbacks as kc
from tests.thorough import PROCESSES, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 4)).astype("float32")
Y = RNG.normal(size=(16, 2)).astype("float32")
OTHERS = RNG.normal(size=(12, 4)).astype("float32")
CONTROL = (OTHERS, RNG.normal(size=(12, 2)).astype("float32"))
PROBE = (X[:12], Y[:12])
EPOCHS = 5


def adaptive(rule, **options):
    return kc.AdaptiveRegularization(
        PROBE, CONTROL, rule=rule, warmup_epochs=1, seed=0, **options
    )


def clip():
    return kc.LayerwiseAdaptiveClipping(rule=kx.gradients.AutoClip(50.0, history=6))


def stop_when():
    return kc.StopWhen(
        "all",
        [
            kc.GradientNormEarlyStopping(0.9, patience=1, start_from_epoch=3),
            keras.callbacks.EarlyStopping("loss", min_delta=1.0, patience=3),
        ],
    )


# From a name to the callbacks, by class or by what else they remember.
MAKE = {
    "AdaptiveDropout": lambda: kc.AdaptiveDropout(
        PROBE, CONTROL, target_gap=0.0, warmup_epochs=1, guards=False
    ),
    "AdaptiveDropout, guards": lambda: kc.AdaptiveDropout(
        PROBE, CONTROL, target_gap=0.0, warmup_epochs=1
    ),
    "AdaptiveRegularization, gap": lambda: adaptive("gap", target_gap=0.0),
    "AdaptiveRegularization, hypergradient": lambda: adaptive("hypergradient"),
    "AdaptiveRegularization, population": lambda: adaptive("population", members=2),
    "BanditLearningRate": lambda: kc.BanditLearningRate(PROBE, every=4, seed=0),
    "DropoutBatchNormBalance": lambda: kc.DropoutBatchNormBalance(
        PROBE, every_epochs=2
    ),
    "DynamicBatchSize": lambda: kc.DynamicBatchSize(
        [(1, 2), (4, 4)], batch_size=8, adjust_batch_norm=True
    ),
    "DynamicBatchSize, cycle": lambda: kc.DynamicBatchSize(
        kx.controllers.batch_size.Interleaved([(1, 2), (2, 1)]),
        batch_size=8,
        learning_rate_scaling="adascale",
    ),
    "DynamicBatchSize, plateau": lambda: kc.DynamicBatchSize(
        kx.controllers.batch_size.Staged(
            [(1, kx.controllers.batch_size.OnPlateau("loss", min_delta=1.0))]
        ),
        batch_size=8,
        learning_rate_scaling="sqrt",
        every=4,
    ),
    "ElasticAveraging": lambda: kc.ElasticAveraging(2),
    "EvidenceBasedEarlyStopping": lambda: kc.EvidenceBasedEarlyStopping(verbose=0),
    "ExplainDuringTraining": lambda: kx.explain.ExplainDuringTraining(
        X[:4], X[:8], every_epochs=2
    ),
    "FreezeConverged": lambda: kc.FreezeConverged(grace=0.5),
    "GradientDisparityEarlyStopping": lambda: kc.GradientDisparityEarlyStopping(
        PROBE, batches=2, batch_size=6, patience=4, restore_best_weights=True
    ),
    "GradientMonitor": lambda: kc.GradientMonitor(every=2, moments=True),
    "GradientNormEarlyStopping": lambda: kc.GradientNormEarlyStopping(
        0.9, patience=2, restore_best_weights=True
    ),
    "GradientNormEarlyStopping, trend": lambda: kc.GradientNormEarlyStopping(trend=4),
    "GradualUnfreezing": lambda: kc.GradualUnfreezing([(2, "hidden"), (4, "norm")]),
    "HypergradientLearningRate": kc.HypergradientLearningRate,
    "HyperparameterScheduler": lambda: kc.HyperparameterScheduler(
        {"hidden/kernel_regularizer/l2": lambda step: 0.001 * step}, every="step"
    ),
    "LabelWaveEarlyStopping": lambda: kc.LabelWaveEarlyStopping(PROBE, window=2),
    "LayerwiseAdaptiveClipping": clip,
    "LayerwiseDecay": kc.LayerwiseDecay,
    "LearningCurveEarlyStopping": lambda: kc.LearningCurveEarlyStopping(
        monitor="loss", verbose=0
    ),
    "LearningRateFinder": lambda: kc.LearningRateFinder(PROBE, steps=20),
    "LearningRateMultiplier": lambda: kc.LearningRateMultiplier(monitor="loss"),
    "LocalSGD": lambda: kc.LocalSGD(2),
    "MomentumSchedule": lambda: kc.MomentumSchedule(
        keras.optimizers.schedules.PolynomialDecay(0.95, 20, 0.85)
    ),
    "OneCycle": lambda: kc.OneCycle(0.01),
    "PostLocalSGD": lambda: kc.PostLocalSGD(2),
    "PrecheltEarlyStopping": lambda: kc.PrecheltEarlyStopping(
        "up", monitor="loss", strip=2, threshold=1
    ),
    "PrecheltEarlyStopping, pq": lambda: kc.PrecheltEarlyStopping(
        "pq", monitor="loss", strip=2
    ),
    "RecalibrateBatchNorm": lambda: kc.RecalibrateBatchNorm(PROBE, every_epochs=2),
    "ReinforcedLearningRate": lambda: kc.ReinforcedLearningRate(PROBE, every=4),
    "SnapshotEnsemble": lambda: kc.SnapshotEnsemble(2),
    "StochasticWeightAveraging": lambda: kc.StochasticWeightAveraging(
        2, train_data=PROBE
    ),
    "StopWhen": stop_when,
}
ONE_OF_EACH_KIND = ["AdaptiveDropout", "DynamicBatchSize, plateau", "StopWhen"]


class Kill(keras.callbacks.Callback):
    """Ends the training in the middle of an epoch."""

    def __init__(self, epoch, batch, how):
        super().__init__()
        self.epoch, self.batch, self.how = epoch, batch, how

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, self.batch):
            self.how()


class Seeds(keras.callbacks.Callback):
    """The masks of an epoch are its own: Keras does not save random states."""

    def on_epoch_begin(self, epoch, logs=None):
        for layer in self.model.layers:
            if hasattr(layer, "seed_generator"):
                layer.seed_generator.state.assign([0, 100 * epoch])


def interrupt():
    raise KeyboardInterrupt


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def make_model(seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(
                6, "relu", kernel_regularizer=keras.regularizers.L2(1e-3), name="hidden"
            ),
            keras.layers.Dropout(0.1, seed=1, name="dropout"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    # Eagerly, which takes less time than to trace the few steps.
    model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=True)
    return model


def fit(model, callbacks, initial_epoch=0):
    return model.fit(
        X,
        Y,
        batch_size=8,
        epochs=EPOCHS,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[Seeds(), *callbacks],
    )


@cache
def outcome(name):
    """What a training that nothing disturbs comes to."""
    model, callback = make_model(), MAKE[name]()
    history = fit(model, [callback])
    return model.get_weights(), history, callback


def assert_same(whole, model, history, callback):
    weights, full, before = whole
    for own, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
    assert full.epoch[-1] == history.epoch[-1]
    for key, values in history.history.items():
        expected = full.history[key][-len(values) :]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6, err_msg=key)
    for attribute in ("stopped_epoch", "stopped_by"):
        assert getattr(before, attribute, 0) == getattr(callback, attribute, 0)
    if hasattr(before, "decisions"):
        assert [d["epoch"] for d in callback.decisions] == full.epoch
    if isinstance(getattr(before, "history", None), dict):
        np.testing.assert_array_equal(
            callback.history["epoch"], before.history["epoch"]
        )


@pytest.mark.parametrize("name", thorough_but(ONE_OF_EACH_KIND, list(MAKE)))
def test_backup_and_restore(name, tmp_path):
    rng = np.random.default_rng(sum(map(ord, name)))
    at = int(rng.integers(2, 4)), int(rng.integers(2))
    whole = outcome(name)
    killed = with_backup(rng, tmp_path, MAKE[name](), Kill(*at, interrupt))
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), killed)
    # One that was used and pickled begins like a new one.
    callback = cloudpickle.loads(cloudpickle.dumps(whole[2]))
    model = make_model(seed=7)
    history = fit(model, with_backup(rng, tmp_path, callback))
    assert history.epoch[0] == at[0]
    assert_same(whole, model, history, callback)


def with_backup(rng, folder, *callbacks):
    """With Keras's own backup in front or behind: the order does not matter."""
    backup = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
    mixed = list(callbacks)
    mixed.insert(int(rng.integers(2)), backup)
    return mixed


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """From a name to the folder with all that a training wrote before it was killed."""

    @cache
    def train(name):
        folder = tmp_path_factory.mktemp("killed")
        model = make_model()
        checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)

        def write(epoch, logs):
            checkpoint.write(str(folder / f"{epoch + 1}"))

        # In front of ours: what they save is whole nevertheless.
        killed = [
            keras.callbacks.ModelCheckpoint(
                folder / "{epoch}.weights.h5", save_weights_only=True
            ),
            keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
            keras.callbacks.LambdaCallback(on_epoch_end=write),
            MAKE[name](),
            Kill(3, 1, interrupt),
        ]
        with pytest.raises(KeyboardInterrupt):
            fit(model, killed)
        return folder

    return train


def model_from_weights(folder):
    model = new_model()
    model.load_weights(folder / "3.weights.h5")
    return model


def model_from_file(folder):
    model = keras.saving.load_model(folder / "3.keras")
    model.run_eagerly = True
    return model


def model_from_checkpoint(folder):
    model = new_model()
    read = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    read.read(str(folder / "3")).expect_partial()
    return model


def new_model():
    model = make_model(seed=7)
    model.optimizer.build(model.trainable_variables)
    return model


READERS = model_from_weights, model_from_file, model_from_checkpoint
# All ways for one callback, and one way for each of the others: what a callback keeps
# and how a file is read have nothing to do with each other.
ALL_WAYS = [(read, "AdaptiveDropout") for read in READERS]
ONE_WAY = [(READERS[i % 3], name) for i, name in enumerate(MAKE) if i]


@pytest.mark.parametrize(("read", "name"), thorough_but(ALL_WAYS, ALL_WAYS + ONE_WAY))
def test_what_was_written_and_initial_epoch(read, name, written):
    model, callback = read(written(name)), MAKE[name]()
    printed = repr(callback)
    history = fit(model, [callback], initial_epoch=3)
    assert repr(callback) == printed  # no argument is overwritten
    assert_same(outcome(name), model, history, callback)


SCRIPT = """
import sys
from pathlib import Path
from tests._fit import test_resume as t
backup = t.keras.callbacks.BackupAndRestore(sys.argv[1], delete_checkpoint=False)
t.fit(t.make_model(), [backup, t.MAKE["AdaptiveDropout"](), t.Kill(3, 1, t.die)])
"""


@pytest.mark.thorough(PROCESSES)
def test_a_process_that_is_killed(tmp_path):
    whole = outcome("AdaptiveDropout")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    killed = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=root, env=environment
    )
    assert killed.returncode == -signal.SIGKILL
    model, callback = make_model(seed=7), MAKE["AdaptiveDropout"]()
    backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    history = fit(model, [backup, callback])
    assert history.epoch[0] == 3
    assert_same(whole, model, history, callback)


def resumed(folder, first, second):
    """A training of two epochs that goes on with other callbacks."""
    path = folder / "model.keras"
    model = make_model()
    save = keras.callbacks.ModelCheckpoint(path)
    model.fit(X, Y, epochs=2, callbacks=[*first, save], verbose=0)
    model = keras.saving.load_model(path)
    model.run_eagerly = True
    return fit(model, second, initial_epoch=2)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: kc.LocalSGD(), lambda: kc.GradientMonitor()),
        (lambda: kc.LayerwiseDecay(), lambda: kc.LocalSGD()),
    ],
)
def test_what_is_of_another_kind_is_not_taken(first, second, tmp_path):
    assert resumed(tmp_path, [first()], [second()]).epoch == [2, 3, 4]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            adaptive("population", members=2),
            adaptive("population", members=3),
            "AdaptiveRegularization begins anew: .*'members': 2.* here is .*: 3",
        ),
        (
            kc.StopWhen("any", [kc.GradientNormEarlyStopping(1e-9)]),
            kc.StopWhen(
                "any",
                [kc.GradientNormEarlyStopping(1e-9), keras.callbacks.TerminateOnNaN()],
            ),
            "StopWhen begins anew: what was saved for it is of .'GradientNorm",
        ),
        (
            kc.GradientMonitor(1),
            kc.GradientMonitor(1, histograms=True),
            "GradientMonitor begins anew",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Skipping what was saved")
def test_other_arguments_begin_anew_and_say_so(first, second, message, tmp_path):
    with pytest.warns(UserWarning, match=message):
        assert resumed(tmp_path, [first], [second]).epoch == [2, 3, 4]


def test_each_part_goes_on_whoever_else_there_was(tmp_path):
    # Two updates, and then two in each of three epochs.
    monitor = kc.GradientMonitor(1, moments=True)
    clip = kc.LayerwiseAdaptiveClipping(rule="autoclip", nonfinite="raise")
    resumed(tmp_path, [clip, kc.GradientMonitor(1)], [monitor])
    assert monitor.history["update"].tolist() == list(range(1, 9))
    assert np.isnan(monitor.history["global"]["noise"]).tolist()[0]


def test_every_callback_is_in_the_matrix():
    made = {name.partition(",")[0] for name in MAKE}
    # Its choice of a size is timed, and the base class has no use of its own.
    left_out = {"BatchSizeFinder", "GradientCallback"}
    assert made | left_out == {*kc.__all__, "ExplainDuringTraining"}
