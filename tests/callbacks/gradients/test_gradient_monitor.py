"""What the monitor records, against a tape; and its files, read back."""

import copy
import csv
import functools
import itertools
import math
import re
import sys

import keras
import matplotlib as mpl
import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf

import keras_ext as kx
from keras_ext.callbacks import (
    DynamicBatchSize,
    GradientMonitor,
    LayerwiseAdaptiveClipping,
)
from keras_ext.signals import GradientMoments
from tests.rewind import rewound
from tests.thorough import LONG, MATRIX, thorough_but

X = np.random.default_rng(0).normal(size=(80, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(80, 2)).astype("float32")
# Arrays are made into such a dataset in each `fit`, which takes longer.
BATCHES = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
LOGS = {
    *("gradient_norm", "update_ratio", "vanishing_ratio", "dead_fraction"),
    *("gradient_cosine", "gradient_confusion", "nonfinite_steps"),
}


def make_model(rate=0.05, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, "tanh", name="hidden"),
            keras.layers.Dense(2, name="head"),
        ],
        name="m",
    )
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse", **options)
    return model


model_as_new = rewound(make_model)


def fit(model, callbacks, epochs=2, **options):
    """Ten updates in each epoch."""
    options = {"shuffle": False, "verbose": 0, **options}
    return model.fit(BATCHES, epochs=epochs, callbacks=callbacks, **options)


def monitored(epochs=2, model=None, fit_options=(), **options):
    monitor = GradientMonitor(**{"every": 5, **options})
    fit(model or model_as_new(), [monitor], epochs, **dict(fit_options))
    return monitor


@functools.cache
def logs_and_monitor():
    """Of a plain training, for those who only look."""
    monitor = GradientMonitor(every=5)
    return fit(make_model(), [monitor]).history, monitor


@functools.cache
def norms_of_a_tape(steps=20):
    """The gradient norms of both layers in every step of a plain training."""
    model, norms = make_model(), []
    for i in range(steps):
        rows = slice(i % 10 * 8, i % 10 * 8 + 8)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(X[rows]) - Y[rows]))
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        model.optimizer.apply(gradients, variables)
        flat = [np.ravel(g) for g in gradients]
        norms.append([math.hypot(*flat[0], *flat[1]), math.hypot(*flat[2], *flat[3])])
    return np.array(norms)


def assert_same(one, other, **tolerance):
    assert one["layers"] == other["layers"]
    np.testing.assert_array_equal(one["update"], other["update"])
    for kind in ("global", "per_layer"):
        assert one[kind].keys() == other[kind].keys()
        for quantity, values in one[kind].items():
            np.testing.assert_allclose(
                values, other[kind][quantity], err_msg=quantity, **tolerance
            )


WAYS = {
    "graph": {},
    "xla": {"jit_compile": True},
    "2 steps": {"steps_per_execution": 2},
    "10 steps": {"steps_per_execution": 10},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.thorough(LONG)
def test_records_what_a_tape_sees(way):
    """Also if several rows end before the host looks again."""
    history = monitored(every=3, model=make_model(**WAYS[way])).history
    assert history["layers"] == ["m/hidden", "m/head"]
    assert not history["loss_is_scaled"]
    assert history["update"].tolist() == [1, 3, 6, 9, 12, 15, 18]
    expected = norms_of_a_tape()[history["update"] - 1]
    found = history["per_layer"]["gradient_norm"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    ratios = history["global"]["vanishing_ratio"]
    np.testing.assert_allclose(ratios, expected[:, 0] / expected[:, 1], rtol=1e-5)
    if "steps_per_execution" not in WAYS[way]:
        assert history["epoch"].tolist() == [0] * 4 + [1] * 3


def test_training_is_the_same_as_without_it():
    model = model_as_new()
    fit(model, [])
    plain = model.get_weights()
    watched = model_as_new()
    monitored(model=watched, histograms=True, moments=True)
    for a, b in zip(plain, watched.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_logs_have_the_last_row():
    logs, monitor = logs_and_monitor()
    assert logs.keys() == {"loss"} | LOGS
    rows = monitor.history["global"]
    assert logs["gradient_norm"] == pytest.approx(rows["gradient_norm"][[2, 4]])
    assert logs["gradient_confusion"] == pytest.approx(rows["confusion"][[2, 4]])


def test_one_transfer_for_each_row(monkeypatch):
    module = sys.modules[kx.signals.LayerStatistics.__module__]
    count, convert = [], keras.ops.convert_to_numpy
    model, monitor = model_as_new(), GradientMonitor(every=5)

    def counting(x):
        count.append(x.path)
        return convert(x)

    monkeypatch.setattr(module.ops, "convert_to_numpy", counting)
    fit(model, [monitor], epochs=1)
    # Rows 1 and 5, and the look at the end of the epoch, at row 10.
    assert len([path for path in count if path == "table"]) == 3
    others = set(count) - {"table"}
    assert others <= {"iteration", "nonfinite_steps"} | {
        v.path for v in model.optimizer.variables
    }


class TestFits:
    @pytest.mark.thorough(LONG)
    def test_a_second_fit_starts_anew(self):
        model, monitor = model_as_new(), GradientMonitor(every=4)
        fit(model, [monitor], epochs=1)
        assert monitor.history["update"].tolist() == [1, 4, 8]
        fit(model, [monitor], epochs=1)
        # The first update of a fit, and then as the iterations go.
        assert monitor.history["update"].tolist() == [11, 12, 16, 20]

    def test_initial_epoch(self):
        monitor = monitored(epochs=5, fit_options={"initial_epoch": 4})
        assert set(monitor.history["epoch"]) == {4}

    @pytest.mark.thorough(LONG)
    def test_copies_are_independent(self):
        _, monitor = logs_and_monitor()
        copied = copy.deepcopy(monitor)
        fit(model_as_new(), [copied])
        assert_same(copied.history, monitor.history)
        fit(model_as_new(), [copied], epochs=1)
        assert len(copied.history["update"]) < len(monitor.history["update"])

    @pytest.mark.thorough(LONG)
    def test_an_epoch_that_is_shorter_than_an_interval(self, capsys):
        monitor = GradientMonitor()
        logs = fit(model_as_new(), [monitor], epochs=6, verbose=2).history
        said = [x for x in capsys.readouterr().out.splitlines() if "Monitor" in x]
        assert said == [
            "Epoch 2: GradientMonitor: the 10 updates of this epoch are fewer than "
            "every=50, so its logs are those of an earlier one."
        ]
        assert monitor.history["update"].tolist() == [1, 50]
        assert len(set(logs["gradient_norm"])) == 2

    def test_a_model_that_is_built_by_its_first_step(self):
        model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
        history = monitored(model=model).history
        assert history["update"].tolist() == [1, 5, 10, 15, 20]
        assert history["per_layer"]["gradient_norm"].shape == (5, 2)

    def test_before_fit(self):
        history = GradientMonitor().history
        assert history["layers"] == []
        assert history["update"].shape == (0,)
        assert history["per_layer"]["gradient_norm"].shape == (0, 0)

    @pytest.mark.thorough(MATRIX)
    def test_two_replicas(self, strategies):
        with strategies(2).scope():
            model = make_model()
        history = monitored(model=model).history
        one = logs_and_monitor()[1].history
        assert_same(one, history, rtol=1e-4, atol=1e-6)

    @pytest.mark.thorough(LONG)
    def test_accumulation(self):
        """Two micro-batches of 4 in each update of the second epoch."""
        monitor = GradientMonitor(every=5)
        batch = DynamicBatchSize([(1, 2)], batch_size=8)
        fit(model_as_new(), [monitor, batch], epochs=3)
        assert monitor.history["update"].tolist() == [1, 5, 10, 15, 20]
        assert monitor.history["epoch"].tolist() == [0, 0, 0, 1, 2]


def test_an_optimizer_that_accumulates_by_itself():
    pipeline = kx.optimizers.GradientPipeline("sgd", accumulation_steps=2)
    model = make_model()
    model.compile(pipeline, "mse")
    message = "`model.optimizer` must be one that does not accumulate gradients."
    with pytest.raises(ValueError, match=message):
        fit(model, [GradientMonitor()])
    assert model.optimizer is pipeline


@pytest.mark.thorough(LONG)
def test_clipping_by_another_callback_is_seen():
    for order in (1, -1):
        monitor = GradientMonitor(every=5)
        clip = LayerwiseAdaptiveClipping(0.1, exclude="bias")
        fit(model_as_new(), [monitor, clip][::order], epochs=1)
        rows = monitor.history["per_layer"]
        assert (rows["clipped_fraction"] > 0).any()
        # A tenth of the norm of the kernel.
        sizes = [np.linalg.norm(w) for w in make_model().get_weights()[::2]]
        np.testing.assert_allclose(rows["threshold"][0], 0.1 * np.array(sizes), 1e-4)


def test_moments_are_those_of_the_signal():
    model, moments = make_model(), GradientMoments(window=5, every=5)
    model.compile(
        kx.optimizers.GradientPipeline(model.optimizer, signals=[moments]), "mse"
    )
    fit(model, [])
    monitor = GradientMonitor(every=5, moments=True)
    logs = fit(model_as_new(), [monitor]).history
    history, read = monitor.history, moments.read()
    for quantity in ("noise", "signal", "noise_scale", "snr", "gsnr", "diversity"):
        found = history["global"][quantity][-1]
        assert found == pytest.approx(read["global"][quantity], rel=1e-4, nan_ok=True)
    assert logs["gradient_snr"][-1] == history["global"]["snr"][-1]
    noise = read["per_weight"]["m/head/kernel"]["noise"]
    noise += read["per_weight"]["m/head/bias"]["noise"]
    assert history["per_layer"]["noise"][-1, 1] == pytest.approx(noise, rel=1e-4)
    assert np.isnan(history["per_layer"]["noise"][0]).all()


@pytest.mark.parametrize("every", [4, 100])
def test_gradients_that_are_not_finite(every):
    """From update 4 on, and then no update is made any more.

    What comes in as a target reaches all layers, whatever activations do with NaN.
    """
    y = Y.copy()
    y[24:] = np.nan
    model, monitor = model_as_new(), GradientMonitor(every=every)
    model.fit(X, y, batch_size=8, shuffle=False, callbacks=[monitor], verbose=0)
    history = monitor.history
    assert history["update"][-1] == 3
    assert history["global"]["nonfinite"][-1] == 7
    assert history["per_layer"]["nonfinite"][-1].tolist() == [7, 7]
    assert np.isnan(history["global"]["gradient_norm"][-1])
    assert np.isfinite(history["global"]["gradient_norm"][0])


@pytest.mark.thorough(LONG)
def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    history = monitored().history
    assert history["loss_is_scaled"]
    assert np.isfinite(history["global"]["gradient_norm"]).all()


class TestFiles:
    def lines(self, monitor):
        """What a file should hold, from the history."""
        history, lines = monitor.history, []
        for i, update in enumerate(history["update"]):
            for j, layer in enumerate([*history["layers"], ""]):
                values = {
                    q: v[i]
                    if not layer
                    else history["per_layer"][q][i, j]
                    if q in history["per_layer"]
                    else math.nan
                    for q, v in history["global"].items()
                }
                lines.append((update, history["epoch"][i], layer, values))
        return lines

    def check(self, found, monitor):
        expected = self.lines(monitor)
        assert len(found) == len(expected)
        for line, (update, epoch, layer, values) in zip(found, expected, strict=True):
            assert (int(line["update"]), int(line["epoch"])) == (update, epoch)
            assert line["layer"] == layer
            assert list(line)[3:] == list(values)
            for quantity, value in values.items():
                found_value = float(line[quantity])
                assert found_value == pytest.approx(value, rel=1e-6, nan_ok=True)

    def read(self, path):
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path).to_pylist()
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    @pytest.mark.parametrize(
        ("append", "name"),
        thorough_but(
            [(False, "rows.csv"), (True, "rows.parquet")],
            list(itertools.product((False, True), ("rows.csv", "rows.parquet"))),
        ),
    )
    def test_are_replaced_or_appended_to(self, tmp_path, name, append):
        path = tmp_path / "new" / name
        monitor = GradientMonitor(every=5, path=path, append=append)
        fit(model_as_new(), [monitor], epochs=1)
        first = self.read(path)
        self.check(first, monitor)
        fit(model_as_new(), [monitor])
        second = self.read(path)
        if append:
            assert str(second[: len(first)]) == str(first)
            second = second[len(first) :]
        self.check(second, monitor)

    @pytest.mark.thorough(LONG)
    def test_csv_is_there_while_training(self, tmp_path):
        class Look(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if batch == 5:
                    self.text = path.read_text()

        path, look = tmp_path / "rows.csv", Look()
        monitor = GradientMonitor(every=5, path=str(path))
        fit(model_as_new(), [monitor, look], epochs=1)
        assert len(look.text.splitlines()) == 1 + 2 * 3

    @pytest.mark.thorough(LONG)
    def test_tensorboard(self, tmp_path):
        monitor = monitored(tensorboard=tmp_path, histograms=True)
        history, scalars, histograms = monitor.history, {}, {}
        for file in tmp_path.iterdir():
            for record in tf.data.TFRecordDataset(str(file)):
                event = tf.compat.v1.Event.FromString(record.numpy())
                for value in event.summary.value:
                    array = tf.make_ndarray(value.tensor)
                    kind = {"scalars": scalars, "histograms": histograms}
                    kind = kind[value.metadata.plugin_data.plugin_name]
                    kind[value.tag, event.step] = array
        for i, step in enumerate(history["update"]):
            found = scalars["gradient_norm/m/head", step]
            assert found == pytest.approx(history["per_layer"]["gradient_norm"][i, 1])
            found = scalars["update_ratio/all", step]
            assert found == pytest.approx(history["global"]["update_ratio"][i])
            buckets = histograms["log10_gradient/m/hidden", step]
            assert buckets.shape[1] == 3
            assert buckets[:, 2].sum() == 6 * 8 + 8
            edges = history["histogram_edges"]
            counts, _ = np.histogram(buckets[:, 0] + 0.1, edges, weights=buckets[:, 2])
            np.testing.assert_array_equal(counts, history["histograms"][i, 0, 1:])
        assert ("threshold/all", 5) not in scalars  # there is no clipping

    @pytest.mark.thorough(LONG)
    def test_tensorboard_finds_its_histograms(self, tmp_path):
        accumulator = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator"
        )
        monitored(tensorboard=tmp_path, histograms=True)
        events = accumulator.EventAccumulator(str(tmp_path))
        events.Reload()
        plugin = events.PluginTagToContent("histograms")
        assert set(plugin) == {"log10_gradient/m/hidden", "log10_gradient/m/head"}

    @pytest.mark.parametrize(
        ("options", "package"),
        [
            ({"path": "rows.parquet"}, "pyarrow"),
            ({"tensorboard": "logs"}, "tensorboard"),
        ],
    )
    def test_a_missing_package(self, options, package, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        message = (
            f'needs {package}. Install it with: pip install "keras-ext[telemetry]"'
        )
        model = make_model()
        optimizer = model.optimizer
        with pytest.raises(ImportError, match=re.escape(message)):
            fit(model, [GradientMonitor(**options)])
        assert model.optimizer is optimizer


class TestPlot:
    @pytest.fixture(autouse=True)
    def _without_a_screen(self):
        mpl.use("agg")
        yield
        assert mpl.pyplot.get_fignums() == []

    def test_draws_norms_and_ratios(self, tmp_path):
        _, monitor = logs_and_monitor()
        figure = monitor.plot(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
        upper, lower = figure.axes[:2]
        norms = monitor.history["per_layer"]["gradient_norm"]
        image = upper.collections[0].get_array().reshape(2, -1)
        np.testing.assert_allclose(image, np.log10(norms).T)
        assert [t.get_text() for t in upper.get_yticklabels()] == ["hidden", "head"]
        ratios = monitor.history["per_layer"]["update_ratio"]
        np.testing.assert_allclose(lower.lines[1].get_ydata(), ratios[:, 1])
        assert lower.lines[-1].get_ydata() == [1e-3, 1e-3]

    @pytest.mark.thorough(LONG)
    def test_zero_gradients_and_nan_are_left_white(self):
        model = make_model()
        model.get_layer("head").kernel.assign(np.zeros((8, 2)))
        monitor = monitored(model=model, every=1, epochs=1)
        image = monitor.plot().axes[0].collections[0].get_array().reshape(2, -1)
        assert image.mask[0, 0]
        assert image.mask.sum() == 1

    def test_says_that_nothing_was_recorded(self):
        with pytest.raises(ValueError, match=r"Nothing was recorded: pass the Grad"):
            GradientMonitor().plot()

    def test_a_hundred_layers(self):
        history = {
            "layers": [f"layer_{i}" for i in range(100)],
            "update": np.array([1, 50]),
            "global": {"update_ratio": np.array([1e-3, 1e-2])},
            "per_layer": dict.fromkeys(
                ("gradient_norm", "update_ratio"), np.ones((2, 100))
            ),
        }
        module = sys.modules["keras_ext.callbacks.gradients._gradient_plot"]
        figure = module.draw(history)
        assert len(figure.axes[0].get_yticks()) == 25


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"every": 0}, "`every` must be an integer >= 1. Received: every=0."),
        (
            {"path": "rows.txt"},
            "`path` must be a path ending in .csv or .parquet, or None. "
            "Received: path='rows.txt'.",
        ),
        ({"path": 3}, "`path` must be a path ending in .csv or .parquet, or None."),
        (
            {"tensorboard": 3},
            "`tensorboard` must be a path, or None. Received: tensorboard=3.",
        ),
        ({"moments": 1}, "`moments` must be True or False. Received: moments=1."),
        ({"append": None}, "`append` must be True or False. Received: append=None."),
        ({"nonfinite": "stop"}, '`nonfinite` must be "skip", "raise" or "recover".'),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        GradientMonitor(**kwargs)


def test_a_model_of_nothing_but_embeddings_has_no_units_to_be_dead():
    table = keras.layers.Embedding(3, 1, name="words")
    model = keras.Sequential(
        [keras.Input((2,), dtype="int32"), table, keras.layers.GlobalAveragePooling1D()]
    )
    model.compile("sgd", "mse", run_eagerly=True)
    monitor = GradientMonitor(every=1)
    tokens = np.array([[0, 1], [1, 1]])
    model.fit(tokens, np.ones((2, 1)), callbacks=[monitor], verbose=0)
    history = monitor.history
    assert np.isnan(history["global"]["dead_fraction"]).all()
    assert (history["global"]["gradient_norm"] > 0).all()
    assert "dead units" not in [
        finding.kind for finding in kx.diagnostics.diagnose(monitor)
    ]
