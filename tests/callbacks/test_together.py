"""What the callbacks must do in whichever company, and after one another."""

import copy
import functools
from dataclasses import dataclass

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.callbacks import (
    AdaptiveDropout,
    AdaptiveRegularization,
    DynamicBatchSize,
    GradientCallback,
    GradientMonitor,
    GradientNormEarlyStopping,
    GradualUnfreezing,
    HyperparameterScheduler,
    LayerwiseAdaptiveClipping,
)
from tests.rewind import rewound
from tests.thorough import LONG, thorough_but

RNG = np.random.default_rng(0)
X = RNG.normal(size=(128, 6)).astype("float32")
Y = RNG.normal(size=(128, 2)).astype("float32")
# Arrays are made into such a dataset in each `fit`, which takes longer.
BATCHES = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
PROBE = (X[:16], Y[:16])


class More:
    """A controller that always wants more dropout."""

    def update(self, gap):
        return 0.2


MAKE = {
    "clip": lambda: LayerwiseAdaptiveClipping(0.05, exclude="head"),
    "stop": lambda: GradientNormEarlyStopping(start_from_epoch=99),
    "monitor": lambda: GradientMonitor(every=4),
    "drop": lambda: AdaptiveDropout(
        PROBE, PROBE, warmup_epochs=0, controller=More(), guards=False
    ),
    "batch": lambda: DynamicBatchSize([(1, 2)], batch_size=16),
    "thaw": lambda: GradualUnfreezing([(1, "dense")]),
}
LOGS = {
    "clip": {"clip_threshold", "clipped_fraction", "nonfinite_steps"},
    "stop": {"mean_gradient_norm", "nonfinite_steps"},
    "monitor": {
        *("gradient_norm", "update_ratio", "vanishing_ratio", "dead_fraction"),
        *("gradient_cosine", "gradient_confusion", "nonfinite_steps"),
    },
    "drop": {"overfit_gap", "dropout_rate"},
    "batch": {"batch_size", "nonfinite_steps"},
    "thaw": {"frozen_fraction", "nonfinite_steps"},
}
every_callback = pytest.mark.parametrize("name", MAKE)


class CountTraces(keras.Sequential):
    """A model that counts how often its step was traced."""

    def __init__(self, layers=None, **kwargs):
        super().__init__(layers, **kwargs)
        self.traces = 0

    def train_step(self, data):
        self.traces += 1
        return super().train_step(data)


def make_model(optimizer=None, rate=0.2, **compile_options):
    keras.utils.set_random_seed(0)
    model = CountTraces(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dropout(rate, seed=0),
            keras.layers.Dense(2, name="head"),
        ]
    )
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "mse", **compile_options)
    return model


def fit(model, callbacks=(), epochs=3, **options):
    options = {"shuffle": False, "verbose": 0, **options}
    return model.fit(BATCHES, epochs=epochs, callbacks=list(callbacks), **options)


def flat(model):
    return np.concatenate([np.ravel(w) for w in model.get_weights()])


# Transforms and signals, live values, and a step of its own.
REPRESENTATIVE = ("clip", "drop", "batch")
rewound_model = rewound(make_model)


def model_as_new():
    model = rewound_model()
    model.layers[1].rate = 0.2
    return model


@dataclass
class Run:
    """What a callback alone has made of a model, and the callback, now a used one."""

    history: dict
    weights: np.ndarray
    callback: keras.callbacks.Callback
    # What the optimizer was, the number of its variables, and its updates.
    optimizers: tuple
    variables: tuple
    updates: int


def run(callback):
    model = model_as_new()
    before, count = model.optimizer, len(model.optimizer.variables)
    history = fit(model, [callback]).history
    after, updates = model.optimizer, int(before.iterations)
    assert "call" not in vars(model.layers[1])
    counts = count, len(before.variables)
    return Run(history, flat(model), callback, (before, after), counts, updates)


@functools.cache
def first_run(name):
    return run(MAKE[name]())


def assert_same(one, other):
    assert one.history.keys() == other.history.keys()
    for key, values in one.history.items():
        assert values == pytest.approx(other.history[key], nan_ok=True)
    np.testing.assert_array_equal(one.weights, other.weights)


@every_callback
@pytest.mark.thorough(LONG)
def test_logs_are_in_the_history(name):
    history = first_run(name).history
    assert history.keys() == {"loss"} | LOGS[name]
    assert all(len(values) == 3 for values in history.values())


@every_callback
def test_gives_the_model_back_as_it_was(name):
    first = first_run(name)
    before, after = first.optimizers
    assert after is before
    assert first.variables[1] == first.variables[0]
    assert first.updates == (8 + 4 + 4 if name == "batch" else 3 * 8)
    model = model_as_new()
    assert model.optimizer is before
    fit(model, epochs=1)
    assert int(before.iterations) == 8


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """All callbacks together: the model, its history, and where it was saved."""
    folder = tmp_path_factory.mktemp("whole_run")
    names = ("while training", "after training")
    paths = {name: folder / f"{name}.keras" for name in names}
    model = make_model()
    checkpoint = keras.callbacks.ModelCheckpoint(paths["while training"])
    history = fit(model, [*(make() for make in MAKE.values()), checkpoint]).history
    model.save(paths["after training"])
    return model, history, paths


def test_any_order_gives_the_same_weights(whole_run):
    model, history, _ = whole_run
    assert history.keys() == {"loss"}.union(*LOGS.values())
    np.testing.assert_allclose(flat_after(reversed(MAKE)), flat(model), atol=1e-6)


@pytest.mark.thorough(LONG)
def test_graphs_as_shipped_give_the_same_weights(whole_run, graphs_as_shipped):
    order = ["drop", "thaw", "clip", "batch", "monitor", "stop"]
    np.testing.assert_allclose(flat_after(order), flat(whole_run[0]), atol=1e-6)


def flat_after(order):
    model = model_as_new()
    history = fit(model, [MAKE[name]() for name in order]).history
    assert history.keys() == {"loss"}.union(*LOGS.values())
    return flat(model)


@pytest.mark.parametrize("when", ["while training", "after training"])
def test_a_saved_model_is_a_plain_one(when, whole_run):
    model, _, paths = whole_run
    loaded = keras.saving.load_model(
        paths[when], custom_objects={"CountTraces": CountTraces}
    )
    assert type(loaded.optimizer) is keras.optimizers.SGD
    assert int(loaded.optimizer.iterations) == 8 + 4 + 4
    for variable, expected in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    assert type(loaded.layers[1]) is keras.layers.Dropout
    assert loaded.layers[1].rate == model.layers[1].rate > 0.2
    np.testing.assert_array_equal(flat(loaded), flat(model))


@pytest.mark.thorough(LONG)
def test_training_goes_on_from_a_backup(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def callbacks():
        backup = keras.callbacks.BackupAndRestore(tmp_path)
        return [LayerwiseAdaptiveClipping(0.05), backup]

    unbroken = make_model(rate=0.0)
    fit(unbroken, [LayerwiseAdaptiveClipping(0.05)], epochs=4)
    broken = make_model(rate=0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(broken, [*callbacks(), Interrupt()], epochs=4)
    resumed = make_model(rate=0.0)
    history = fit(resumed, callbacks(), epochs=4)
    assert history.epoch == [2, 3]
    np.testing.assert_allclose(flat(resumed), flat(unbroken), atol=1e-6)


@every_callback
def test_a_second_fit_works_like_the_first(name):
    first = first_run(name)
    assert_same(run(first.callback), first)
    if name == "batch":
        assert first.history["batch_size"] == [16, 32, 32]


def test_initial_epoch_is_where_the_list_of_batch_sizes_begins():
    history = fit(model_as_new(), [MAKE["batch"]()], epochs=3, initial_epoch=2)
    assert history.history["batch_size"] == [32]


@pytest.mark.parametrize("name", thorough_but(REPRESENTATIVE, MAKE))
@pytest.mark.parametrize("used", thorough_but([True], [False, True]))
def test_copies_are_independent(name, used):
    """KerasTuner copies the callbacks before each trial."""
    first = first_run(name)
    assert_same(run(copy.deepcopy(first.callback if used else MAKE[name]())), first)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside KerasTuner
@pytest.mark.thorough(LONG)
def test_keras_tuner_search(tmp_path):
    def build(hp):
        return make_model(keras.optimizers.SGD(hp.Choice("rate", [0.01, 0.1])))

    tuner = keras_tuner.GridSearch(
        build, "val_loss", max_trials=2, directory=tmp_path, project_name="search"
    )
    tuner.search(
        X,
        Y,
        epochs=1,
        batch_size=16,
        validation_data=PROBE,
        callbacks=[MAKE[name]() for name in REPRESENTATIVE],
        verbose=0,
    )
    assert tuner.get_best_hyperparameters()[0].get("rate") in (0.01, 0.1)
    assert len(tuner.oracle.get_best_trials(5)) == 2


WAYS = {
    "graph": {},
    "xla": {"jit_compile": True},
    "several steps": {"steps_per_execution": 4},
}


@pytest.mark.parametrize("way", thorough_but(["graph"], WAYS))
def test_hyperparameters_that_change_are_traced_once(way):
    class ChangeEverything(keras.callbacks.Callback):
        """Assigns every live hyperparameter after each batch."""

        def on_train_batch_end(self, batch, logs=None):
            found = kx.hyper_variables(self.model)
            self.names = set(found)
            for i, variable in enumerate(found.values()):
                if variable.dtype == "int32":
                    variable.assign(1 + batch % 2)
                else:
                    variable.assign(0.1 + 0.01 * (batch + i))

    model, change = make_model(**WAYS[way]), ChangeEverything()
    fit(model, [*(make() for make in MAKE.values()), change], epochs=2)
    assert model.traces == 1
    assert {name.rpartition("/")[2] for name in change.names} == {
        "rate",
        "clipping",
        "accumulation_steps",
    }


@pytest.mark.parametrize("first", thorough_but([0], [0, 1, 2]))
def test_callbacks_that_make_values_live_leave_those_of_the_others(first):
    model = make_model(keras.optimizers.AdamW(weight_decay=0.1), rate=0.0)
    model.layers[0].kernel_regularizer = keras.regularizers.L2(0.1)
    callbacks = [
        MAKE["drop"](),
        HyperparameterScheduler({"optimizer/weight_decay": [(0, 0.2), (1, 0.3)]}),
        AdaptiveRegularization(PROBE, PROBE, include="l2", warmup_epochs=0, rule="gap"),
    ]
    history = fit(model, callbacks[first:] + callbacks[:first], epochs=2).history
    (dropout,) = (x for x in model.layers if isinstance(x, keras.layers.Dropout))
    l2 = model.layers[0].kernel_regularizer.l2
    assert dropout.rate == history["dropout_rate"][-1] > 0
    assert model.optimizer.weight_decay == pytest.approx(0.3)
    (path,) = (path for path in history if path.endswith("/l2"))
    assert l2 == history[path][-1] < 0.1
    assert {type(v) for v in (dropout.rate, l2, model.optimizer.weight_decay)} == {
        float
    }
    assert kx.hyper_variables(model) == {}


@pytest.mark.parametrize("include", [None, "dropout"])
@pytest.mark.thorough(LONG)
def test_a_model_that_is_built_by_its_first_step(include):
    """It has no weights, and its layers have no path, when training begins."""
    layers = [
        keras.layers.Dense(8),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(2),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    drop = AdaptiveDropout(
        PROBE,
        PROBE,
        warmup_epochs=0,
        controller=More(),
        include=include,
        guards=False,
    )
    callbacks = [*(MAKE[name]() for name in ("clip", "stop", "batch")), drop]
    history = fit(model, callbacks, epochs=2).history
    assert history["batch_size"] == [16, 32]
    assert type(model.optimizer) is keras.optimizers.SGD
    assert layers[1].rate > 0.1
    built = make_model()
    assert [w.shape for w in model.weights] == [w.shape for w in built.weights]


@pytest.mark.thorough(LONG)
def test_two_replicas_give_the_weights_of_one(strategies):
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = make_model(rate=0.0)
        names = ("clip", "stop", "batch")
        history = fit(model, [MAKE[name]() for name in names], epochs=2).history
        results.append((flat(model), history["mean_gradient_norm"]))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.thorough(LONG)
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    model = make_model()
    optimizer = model.optimizer
    history = fit(model, [make() for make in MAKE.values()]).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]
    assert model.optimizer is optimizer


def test_a_pipeline_in_compile_and_callbacks_add_up(strategies):
    """Two micro-batches by the callback, of two each by the optimizer."""
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            pipeline = kx.optimizers.GradientPipeline(
                keras.optimizers.SGD(0.1), accumulation_steps=2
            )
            model = make_model(pipeline, rate=0.0)
        fit(
            model, [DynamicBatchSize([(0, 2)], batch_size=16), MAKE["clip"]()], epochs=1
        )
        assert model.optimizer is pipeline
        assert int(keras.ops.convert_to_numpy(pipeline.iterations)) == 8 // 4
        results.append(flat(model))
    np.testing.assert_allclose(*results, atol=1e-5)


class Stop(keras.callbacks.Callback):
    """Ends the training as Ctrl-C does."""

    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("again", ["same", "new"])
@pytest.mark.thorough(LONG)
def test_the_fit_after_an_interrupted_one_starts_clean(again):
    """See `tests/_fit/test_interrupted_fit.py` for the model alone."""
    model = make_model()
    optimizer = model.optimizer
    callbacks = [MAKE[name]() for name in REPRESENTATIVE]
    with pytest.raises(KeyboardInterrupt):
        fit(model, [*callbacks, Stop()])
    assert model.optimizer is optimizer
    assert "call" not in vars(model.layers[1])
    if again == "new":
        callbacks = [MAKE[name]() for name in REPRESENTATIVE]
    assert fit(model, callbacks, epochs=2).history["batch_size"] == [16, 32]
    assert model.optimizer is optimizer
    assert fit(model, epochs=1).history.keys() == {"loss"}


class TestCannotWork:
    @pytest.mark.parametrize("name", ["clip", "stop", "batch"])
    def test_without_optimizer(self, name):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
        model.compile(optimizer=None, loss="mse")
        with pytest.raises(ValueError, match=r"`model.optimizer` must be a Keras opt"):
            MAKE[name]().set_model(model)

    @pytest.mark.parametrize("name", ["clip", "stop", "batch"])
    def test_train_step_that_does_not_use_the_optimizer(self, name):
        class Ignores(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(2)
                self.steps = self.add_weight(
                    name="steps", initializer="zeros", trainable=False
                )

            def call(self, x):
                return self.dense(x)

            def train_step(self, data):
                self.steps.assign_add(1.0)
                return {"loss": tf.constant(0.0)}

        model = Ignores()
        model.compile("sgd", "mse")
        optimizer = model.optimizer
        model(X[:1])
        with pytest.raises(
            ValueError, match=r"`model.train_step` must be one that calls"
        ):
            fit(model, [MAKE[name]()])
        # It says so when the step is traced, before the first one runs.
        assert float(model.steps) == 0.0
        assert model.optimizer is optimizer
        fit(model)

    def test_custom_train_step_is_itself_again_after_fit(self):
        class Counts(keras.Sequential):
            def train_step(self, data):
                return super().train_step(data)

        model = Counts([keras.Input((6,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
        fit(model, [MAKE["clip"]()])
        assert "train_step" not in vars(model)

    def test_a_callback_that_cannot_be_installed_leaves_nothing(self):
        class Fails(GradientCallback):
            def install(self, pipeline):
                raise ValueError("cannot be installed")

        model = make_model()
        optimizer = model.optimizer
        with pytest.raises(ValueError, match="cannot be installed"):
            fit(model, [MAKE["clip"](), Fails()])
        assert model.optimizer is optimizer
