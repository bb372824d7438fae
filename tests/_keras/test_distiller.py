import keras
import numpy as np
import pytest

from keras_ext._keras._distiller import OnePassDistiller


def model(units):
    layers = [keras.Input((3,)), keras.layers.Dense(units, name="hidden")]
    made = keras.Sequential([*layers, keras.layers.Dense(2, name="last")])
    made.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
    return made


def test_runs_the_student_once_a_step_and_is_compiled_like_it(monkeypatch):
    loss = keras.distillation.FeatureDistillation("mse", "hidden", "hidden")
    student = model(4)
    distiller = OnePassDistiller(model(4), student, loss)
    distiller.compile_like(student)
    assert distiller.run_eagerly
    assert distiller.optimizer is not student.optimizer
    calls = []
    last = student.get_layer("last")
    original = last.call
    monkeypatch.setattr(last, "call", lambda x, **k: calls.append(1) or original(x))
    x = np.ones((8, 3), "float32")
    distiller.build_from_config({"input_shape": (8, 3)})
    distiller.train_on_batch(x, x[:, :2])
    calls.clear()
    logs = distiller.train_on_batch(x, x[:, :2], return_dict=True)
    assert len(calls) == 1
    assert "mae" in logs


@pytest.mark.parametrize(
    "loss", ["binary_crossentropy", keras.losses.MeanSquaredError()]
)
def test_a_vector_of_labels_is_a_column_where_outputs_are_one(loss):
    student = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, "sigmoid")])
    student.compile("sgd", loss, run_eagerly=True)
    distiller = OnePassDistiller(
        student,
        student,
        keras.distillation.LogitsDistillation(),
        student_loss_weight=1.0,
    )
    distiller.compile_like(student)
    x, y = np.ones((8, 3), "float32"), np.arange(8) % 2
    expected = student.evaluate(x, y, verbose=0)
    logs = distiller.test_on_batch(x, y, return_dict=True)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_on_several_replicas_losses_are_functions_that_do_not_reduce(strategies):
    class Own(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.mean(y_true - y_pred)

    kind = keras.distillation.FeatureDistillation
    with strategies(2).scope():
        teacher, student = model(4), model(4)
        for loss in ("mse", Own()):
            OnePassDistiller(teacher, student, kind(loss, "hidden", "hidden"))
        reduced = kind(keras.losses.MeanSquaredError(), "hidden", "hidden")
        with pytest.raises(ValueError, match="functions or names as `loss`, for 2 rep"):
            OnePassDistiller(teacher, student, reduced)
    OnePassDistiller(model(4), model(4), reduced)


def test_knows_the_layers_that_losses_train():
    losses = [keras.distillation.LogitsDistillation() for _ in range(2)]
    losses[1].projection = keras.layers.Dense(2)
    distiller = OnePassDistiller(model(4), model(4), losses)
    assert distiller.projections == [losses[1].projection]


def test_refuses_weights_of_samples_and_dictionaries_of_metrics():
    loss = keras.distillation.LogitsDistillation()
    student = model(4)
    distiller = OnePassDistiller(model(4), student, loss)
    distiller.compile_like(student)
    x = np.ones((8, 3), "float32")
    with pytest.raises(ValueError, match="`sample_weight` must be None in distill"):
        distiller.train_on_batch(x, x[:, :2], sample_weight=np.ones(8))
    student.compile("sgd", "mse", metrics={"last": "mae"})
    with pytest.raises(ValueError, match="`metrics` must be a list in distillation"):
        distiller.compile_like(student)
