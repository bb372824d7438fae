from copy import deepcopy

import keras
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from keras_ext.explain import ExplainDuringTraining
from tests.explain.models import convnet, normal, outputs_of
from tests.thorough import LONG

mpl.use("agg")
X = normal(64, 4)
Y = 3 * X[:, 1] - X[:, 2]


def model():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.3)]
    made = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    made.compile(keras.optimizers.Adam(0.05), "mse")
    return made


def fit(model, callback, **kwargs):
    kwargs = {"epochs": 2, "verbose": 0, **kwargs}
    return model.fit(X, Y, callbacks=[callback] if callback else [], **kwargs).history


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.thorough(LONG)
def test_records_the_closed_form_of_a_linear_model(strategies, replicas):
    with strategies(replicas).scope():
        linear = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        linear.compile(keras.optimizers.SGD(0.1), "mse")
    kernels = []
    spy = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: kernels.append(linear.get_weights()[0][:, 0])
    )
    watch = ExplainDuringTraining(X[:10], X)
    linear.fit(X, Y, epochs=3, verbose=0, callbacks=[spy, watch])
    away = np.abs(X[:10] - X.mean(axis=0)).mean(axis=0)
    expected = np.abs(kernels) * away
    np.testing.assert_allclose(watch.history["importance"], expected, atol=1e-5)


@pytest.mark.thorough(LONG)
def test_logs_what_mattered_first_and_learns_what_matters():
    watch = ExplainDuringTraining(X[:10], X[:20], every_epochs=3, num_logged=2)
    history = fit(model(), watch, epochs=8)
    assert watch.history["epoch"].tolist() == [0, 2, 5]
    importance = watch.history["importance"]
    assert importance[-1].argmax() == 1
    logged = [name for name in history if name.startswith("importance_")]
    assert len(logged) == 2
    for name in logged:
        place = watch.history["players"].index(name.removeprefix("importance_"))
        np.testing.assert_allclose(history[name], importance[:, place])
    assert watch.explanation.values.shape == (10, 4)


@pytest.mark.thorough(LONG)
def test_training_is_what_it_is_without():
    with_it, without = model(), None
    fit(with_it, ExplainDuringTraining(X[:5], X[:9], method="permutation", budget=60))
    without = model()
    fit(without, None)
    for a, b in zip(with_it.get_weights(), without.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough(LONG)
def test_a_second_fit_begins_anew_and_counts_on_from_its_initial_epoch():
    watch, trained = ExplainDuringTraining(X[:5], X[:9], every_epochs=2), model()
    fit(trained, watch, epochs=2)
    assert watch.history["epoch"].tolist() == [0, 1]
    fit(trained, watch, epochs=7, initial_epoch=2)
    assert watch.history["epoch"].tolist() == [2, 3, 5]
    other = model()
    fit(other, watch, epochs=1)
    explained = watch.explanation
    total = explained.values.sum(axis=1) + explained.base_values
    np.testing.assert_allclose(total, outputs_of(other, X[:5])[:, 0], atol=1e-5)


@pytest.mark.thorough(LONG)
def test_can_be_copied_after_use():
    watch = ExplainDuringTraining(X[:5], X[:9], outputs=lambda y: y[:, 0])
    trained = model()
    fit(trained, watch, epochs=1)
    copied = deepcopy(watch)
    fit(model(), copied, epochs=2)
    assert len(copied.history["epoch"]) == 2
    assert len(watch.history["epoch"]) == 1


@pytest.mark.thorough(LONG)
def test_frames_and_groups_and_several_outputs():
    frame = pd.DataFrame(X, columns=list("abcd"))
    groups = {"first": ["a", "b"], "last": ["c", "d"]}
    watch = ExplainDuringTraining(frame[:5], frame[:9], groups=groups)
    history = fit(model(), watch, epochs=1)
    assert watch.history["players"] == ["first", "last"]
    assert {"importance_first", "importance_last"} <= history.keys()
    images, classes = normal(9, 4, 4, 1), np.arange(9) % 3
    classifier = convnet()
    classifier.compile("sgd", "sparse_categorical_crossentropy")
    watch = ExplainDuringTraining(images[:2], images, method="expected_gradients")
    classifier.fit(images, classes, verbose=0, callbacks=[watch])
    expected = np.abs(watch.explanation.values).mean(axis=(0, 3, 4)).ravel()
    np.testing.assert_allclose(watch.history["importance"][0], expected)


@pytest.mark.thorough(LONG)
def test_draws_the_largest_in_color(tmp_path):
    watch = ExplainDuringTraining(X[:5], X[:9])
    assert watch.history["importance"].shape == (0, 0)
    with pytest.raises(ValueError, match="Nothing was explained: pass the callback"):
        watch.plot()
    fit(model(), watch, epochs=3)
    figure = watch.plot(tmp_path / "importances.png", top=2)
    (axes,) = figure.axes
    assert len(axes.lines) == 4
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    order = np.argsort(-watch.history["importance"].max(axis=0))[:2]
    assert set(labels) == {f"feature {i}" for i in order}
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert (tmp_path / "importances.png").stat().st_size > 0
    assert mpl.pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"every_epochs": 0}, r"`every_epochs` must be an integer >= 1"),
        ({"num_logged": -1}, r"`num_logged` must be an integer >= 0"),
        ({"model": 1}, r"`kwargs` must be arguments of Explainer, \['method'"),
    ],
)
def test_rejects_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ExplainDuringTraining(X, X, **kwargs)


def test_says_when_training_begins_that_it_cannot_explain():
    with pytest.raises(ValueError, match='`method` must be "auto"'):
        fit(model(), ExplainDuringTraining(X, X, method="magic"))
