"""What the callbacks must do in whichever company, and after one another."""

import copy
import itertools

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
    HyperVariableScheduler,
    LayerwiseAdaptiveClipping,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(128, 6)).astype("float32")
Y = RNG.normal(size=(128, 2)).astype("float32")
PROBE = (X[:16], Y[:16])


class More:
    """A controller that always wants more dropout."""

    def update(self, gap):
        return 0.2


MAKE = {
    "clip": lambda: LayerwiseAdaptiveClipping(0.05, exclude="head"),
    "stop": lambda: GradientNormEarlyStopping(min_epochs=99),
    "monitor": lambda: GradientMonitor(every=4),
    "drop": lambda: AdaptiveDropout(
        PROBE, PROBE, warmup_epochs=0, controller=More(), guards=False
    ),
    "batch": lambda: DynamicBatchSize([(1, 2)], batch_size=16),
    "thaw": lambda: GradualUnfreezing([(1, "dense")]),
}
LOGS = {
    "clip": {"clip_threshold", "clipped_fraction", "nonfinite_steps"},
    "stop": {"grad_norm", "nonfinite_steps"},
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
    options = {"batch_size": 16, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **options)


def flat(model):
    return np.concatenate([np.ravel(w) for w in model.get_weights()])


@every_callback
def test_logs_are_in_the_history(name):
    history = fit(make_model(), [MAKE[name]()]).history
    assert history.keys() == {"loss"} | LOGS[name]
    assert all(len(values) == 3 for values in history.values())


def test_any_order_gives_the_same_weights():
    results = [
        flat_after(order)
        for order in itertools.islice(itertools.permutations(MAKE), 0, 120, 35)
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-6)


def flat_after(order):
    model = make_model()
    history = fit(model, [MAKE[name]() for name in order]).history
    assert history.keys() == {"loss"}.union(*LOGS.values())
    return flat(model)


@every_callback
def test_gives_the_model_back_as_it_was(name, tmp_path):
    model = make_model()
    optimizer = model.optimizer
    fit(model, [MAKE[name]()])
    assert model.optimizer is optimizer
    updates = 8 + 4 + 4 if name == "batch" else 3 * 8
    assert int(optimizer.iterations) == updates
    assert "call" not in vars(model.layers[1])

    plain = make_model()
    fit(plain)
    assert len(optimizer.variables) == len(plain.optimizer.variables)
    fit(model)
    assert int(optimizer.iterations) == updates + 3 * 8


@pytest.mark.parametrize("when", ["while training", "after training"])
def test_a_saved_model_is_a_plain_one(when, tmp_path):
    path = tmp_path / "model.keras"
    model = make_model()
    callbacks = [make() for make in MAKE.values()]
    if when == "while training":
        fit(model, [*callbacks, keras.callbacks.ModelCheckpoint(path)])
    else:
        fit(model, callbacks)
        model.save(path)
    loaded = keras.saving.load_model(path, custom_objects={"CountTraces": CountTraces})
    assert type(loaded.optimizer) is keras.optimizers.SGD
    assert int(loaded.optimizer.iterations) == 8 + 4 + 4
    for variable, expected in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    assert type(loaded.layers[1]) is keras.layers.Dropout
    assert loaded.layers[1].rate == model.layers[1].rate > 0.2
    np.testing.assert_array_equal(flat(loaded), flat(model))


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
    model, callback = make_model(), MAKE[name]()
    first = fit(model, [callback], epochs=2).history
    second = fit(model, [callback], epochs=2).history
    assert first.keys() == second.keys()
    if name == "batch":
        assert first["batch_size"] == second["batch_size"] == [16, 32]


def test_initial_epoch_is_where_the_list_of_batch_sizes_begins():
    history = fit(make_model(), [MAKE["batch"]()], epochs=3, initial_epoch=2)
    assert history.history["batch_size"] == [32]


@every_callback
@pytest.mark.parametrize("used", [False, True])
def test_copies_are_independent(name, used):
    """KerasTuner copies the callbacks before each trial."""
    callback = MAKE[name]()
    if used:
        fit(make_model(), [callback], epochs=1)
    copied = copy.deepcopy(callback)
    expected, actual = make_model(), make_model()
    one, two = (
        fit(model, [c]).history for model, c in ((expected, callback), (actual, copied))
    )
    assert one.keys() == two.keys()
    for key, values in one.items():
        assert values == pytest.approx(two[key], nan_ok=True)
    np.testing.assert_array_equal(flat(actual), flat(expected))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside KerasTuner
def test_keras_tuner_search(tmp_path):
    def build(hp):
        return make_model(keras.optimizers.SGD(hp.Choice("rate", [0.01, 0.1])))

    tuner = keras_tuner.GridSearch(
        build, "val_loss", max_trials=2, directory=tmp_path, project_name="search"
    )
    tuner.search(
        X,
        Y,
        epochs=2,
        batch_size=16,
        validation_data=PROBE,
        callbacks=[make() for make in MAKE.values()],
        verbose=0,
    )
    assert tuner.get_best_hyperparameters()[0].get("rate") in (0.01, 0.1)
    assert len(tuner.oracle.get_best_trials(5)) == 2


@pytest.mark.parametrize(
    "options",
    [{}, {"jit_compile": True}, {"steps_per_execution": 4}],
    ids=["graph", "xla", "several steps"],
)
def test_hyperparameters_that_change_are_traced_once(options):
    class ChangeEverything(keras.callbacks.Callback):
        """Assigns every live hyperparameter after each batch."""

        def on_train_batch_end(self, batch, logs=None):
            found = kx.core.hyper_variables(self.model)
            self.names = set(found)
            for i, variable in enumerate(found.values()):
                if variable.dtype == "int32":
                    variable.assign(1 + batch % 2)
                else:
                    variable.assign(0.1 + 0.01 * (batch + i))

    model, change = make_model(**options), ChangeEverything()
    fit(model, [*(make() for make in MAKE.values()), change])
    assert model.traces == 1
    assert {name.rpartition("/")[2] for name in change.names} == {
        "rate",
        "clipping",
        "accumulation_steps",
    }


@pytest.mark.parametrize("first", [0, 1, 2])
def test_callbacks_that_make_values_live_leave_those_of_the_others(first):
    model = make_model(keras.optimizers.AdamW(weight_decay=0.1), rate=0.0)
    model.layers[0].kernel_regularizer = keras.regularizers.L2(0.1)
    callbacks = [
        MAKE["drop"](),
        HyperVariableScheduler({"optimizer/weight_decay": [(0, 0.2), (1, 0.3)]}),
        AdaptiveRegularization(
            PROBE, PROBE, include="l2", warmup_epochs=0, strategy="pi"
        ),
    ]
    history = fit(model, callbacks[first:] + callbacks[:first]).history
    (dropout,) = (x for x in model.layers if isinstance(x, keras.layers.Dropout))
    l2 = model.layers[0].kernel_regularizer.l2
    assert dropout.rate == history["dropout_rate"][-1] > 0
    assert model.optimizer.weight_decay == pytest.approx(0.3)
    (path,) = (path for path in history if path.endswith("/l2"))
    assert l2 == history[path][-1] < 0.1
    assert {type(v) for v in (dropout.rate, l2, model.optimizer.weight_decay)} == {
        float
    }
    assert kx.core.hyper_variables(model) == {}


@pytest.mark.parametrize("include", [None, "dropout"])
def test_a_model_that_is_built_by_its_first_step(include):
    """It has no weights, and its layers have no path, when training begins."""
    models = []
    for shape in ((), (keras.Input((6,)),)):
        keras.utils.set_random_seed(0)
        layers = [
            keras.layers.Dense(8),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(2),
        ]
        model = keras.Sequential([*shape, *layers])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        names = ("clip", "stop", "batch")
        drop = AdaptiveDropout(
            PROBE,
            PROBE,
            warmup_epochs=0,
            controller=More(),
            include=include,
            per_layer="capacity",
            guards=False,
        )
        history = fit(model, [*(MAKE[name]() for name in names), drop]).history
        assert history["batch_size"] == [16, 32, 32]
        assert type(model.optimizer) is keras.optimizers.SGD
        assert layers[1].rate > 0.1
        models.append(model)
    assert [w.shape for w in models[0].weights] == [w.shape for w in models[1].weights]


def test_two_replicas_give_the_weights_of_one(strategies):
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = make_model(rate=0.0)
        names = ("clip", "stop", "batch")
        history = fit(model, [MAKE[name]() for name in names]).history
        results.append((flat(model), history["grad_norm"]))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
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
        fit(model, [DynamicBatchSize([(0, 2)], 16), MAKE["clip"]()], epochs=2)
        assert model.optimizer is pipeline
        assert int(keras.ops.convert_to_numpy(pipeline.iterations)) == 2 * 8 // 4
        results.append(flat(model))
    np.testing.assert_allclose(*results, atol=1e-5)


class Stop(keras.callbacks.Callback):
    """Ends the training as Ctrl-C does."""

    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("again", ["same", "new"])
def test_the_fit_after_an_interrupted_one_starts_clean(again):
    """See `tests/_fit/test_interrupted_fit.py` for the model alone."""
    model = make_model()
    optimizer = model.optimizer
    callbacks = [make() for make in MAKE.values()]
    with pytest.raises(KeyboardInterrupt):
        fit(model, [*callbacks, Stop()])
    assert model.optimizer is optimizer
    assert "call" not in vars(model.layers[1])
    if again == "new":
        callbacks = [make() for make in MAKE.values()]
    assert fit(model, callbacks).history["batch_size"] == [16, 32, 32]
    assert fit(model).history.keys() == {"loss"}


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
