import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.compression import (
    AttentionTransfer,
    DecoupledDistillation,
    KeepZeros,
    ProjectedFeatures,
    SoftTargets,
    distill,
    prune,
)
from tests.thorough import MATRIX, TRAININGS

layers = keras.layers
LOSS = "sparse_categorical_crossentropy"


def convnet(filters, *, dropout=0.0, regularizer=None):
    inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(
        filters, 3, padding="same", kernel_regularizer=regularizer, name="conv"
    )(inputs)
    x = layers.BatchNormalization(momentum=0.5, name="norm")(x)
    x = layers.Dropout(dropout)(layers.ReLU(name="relu")(x))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="last")(x))
    model.compile(
        keras.optimizers.SGD(0.1), LOSS, metrics=["accuracy"], jit_compile=False
    )
    return model


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4, 4, 1)).astype("float32")
    return {"x": x, "y": rng.integers(0, 3, 32)}


def test_the_teacher_stays_as_it_was_and_the_student_learns(data):
    keras.utils.set_random_seed(0)
    teacher, student = convnet(8), convnet(2, dropout=0.1)
    teacher.get_layer("norm").trainable = False
    flags = [layer.trainable for layer in teacher.layers]
    before, optimizer = teacher.get_weights(), student.optimizer
    losses = [
        ProjectedFeatures("conv", "conv"),
        AttentionTransfer("relu", "relu"),
    ]
    given = dict(data, losses=losses, loss_weights=[1.0, 1000.0], verbose=0)
    done = distill(teacher, student, **given, label_weight=0.1, epochs=8)
    assert done.history["loss"][-1] < 0.9 * done.history["loss"][0]
    assert "accuracy" in done.history
    assert done.generations == [student]
    assert [layer.trainable for layer in teacher.layers] == flags
    assert len(teacher.trainable_variables) == 4
    for a, b in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    # The student is what it was before, and goes on with its own optimizer.
    assert student.optimizer is optimizer
    assert int(optimizer.iterations) == 0
    student.fit(**data, verbose=0)
    # The map of the channels, 2 to 8, was trained along.
    assert losses[0].projection.kernel.shape == (2, 8)


def test_the_teacher_is_given_back_when_a_training_fails(data):
    class Failing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("stopped")

    teacher, student = convnet(4), convnet(2)
    with pytest.raises(RuntimeError, match="stopped"):
        distill(teacher, student, **data, callbacks=[Failing()], verbose=0)
    assert all(layer.trainable for layer in teacher.layers)
    assert all(v.trainable for v in teacher.get_layer("conv").weights)


def test_validation_changes_nothing_and_regularizers_count(data):
    """Keras trains statistics while it validates, and leaves regularizers out."""
    keras.utils.set_random_seed(0)
    teacher, student = convnet(4), convnet(2, regularizer="l2")
    student.optimizer.learning_rate = 0.0
    other = keras.models.clone_model(student)
    other.compile(keras.optimizers.SGD(0.0), LOSS, jit_compile=False)
    other.set_weights(student.get_weights())
    options = {"losses": ProjectedFeatures("conv", "conv"), "batch_size": 32}
    validation = (data["x"] + 1, data["y"])
    done = distill(
        teacher, student, **data, **options, validation_data=validation, verbose=0
    )
    distill(teacher, other, **data, **options, verbose=0)
    for a, b in zip(student.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    parts = done.history["student_loss"][0], done.history["distillation_loss"][0]
    penalty = 0.01 * float(np.sum(np.square(student.get_layer("conv").kernel)))
    total = 0.5 * sum(parts) + penalty
    np.testing.assert_allclose(done.history["loss"][0], total, rtol=1e-5)


@pytest.mark.thorough(TRAININGS)
def test_each_generation_learns_from_the_one_before(data):
    keras.utils.set_random_seed(0)
    teacher, student = convnet(4), convnet(2)
    given = dict(data, losses=ProjectedFeatures("conv", "conv"), verbose=0)
    done = distill(teacher, student, **given, generations=2)
    first, last = done.generations
    assert last is student
    assert first is not student
    x = data["x"]
    assert float(np.max(np.abs(first(x) - student(x)))) > 1e-3
    # The names of its layers are those of the student.
    assert given["losses"].teacher_layer_name == "conv"


def test_keeps_the_zeros_of_a_student(data):
    teacher, student = convnet(4), convnet(2)
    prune(student, 0.5)
    distill(teacher, student, **data, callbacks=[KeepZeros()], verbose=0)
    assert np.mean(np.array(student.get_layer("conv").kernel) == 0) == 0.5


@pytest.mark.thorough(MATRIX)
def test_runs_with_xla_and_from_a_dataset(data):
    keras.utils.set_random_seed(0)
    teacher, student = convnet(4), convnet(2)
    student.compile("adam", LOSS, jit_compile=True)
    rows = tf.data.Dataset.from_tensor_slices(tuple(data.values())).batch(16)
    done = distill(
        teacher, student, x=rows, validation_data=rows, shuffle=False, verbose=0
    )
    assert np.isfinite(done.history["val_loss"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"losses": "kd"}, "`losses` must be a keras.distillation.DistillationLoss"),
        ({"loss_weights": [1, 2]}, "`loss_weights` must be 1 numbers >= 0"),
        ({"sample_weight": np.ones(32)}, "`sample_weight` must be None in distill"),
        ({"label_weight": 2}, r"`label_weight` must be a number in \[0, 1\]"),
    ],
)
def test_rejects_what_it_cannot_do(data, change, message):
    with pytest.raises(ValueError, match=message):
        distill(convnet(2), convnet(2), **data, **change)


def test_rejects_models_that_share_weights_or_are_not_compiled(data):
    model = convnet(2)
    with pytest.raises(ValueError, match="weights of its own, without"):
        distill(model, model, **data)
    with pytest.raises(ValueError, match="`student` must be a compiled model"):
        distill(model, keras.Model.from_config(model.get_config()), **data)


@pytest.mark.thorough(MATRIX)
def test_two_replicas_learn_what_one_does(data, strategies):
    losses = [
        SoftTargets(2.0),
        ProjectedFeatures("conv", "conv"),
        DecoupledDistillation(),
    ]
    found = []
    for replicas in (1, 2):
        keras.utils.set_random_seed(0)
        with strategies(replicas).scope():
            teacher, student = convnet(2), convnet(2, regularizer="l2")
            # Its statistics are those of each replica's rows.
            student.get_layer("norm").trainable = False
            student.compile(keras.optimizers.SGD(0.1), LOSS, jit_compile=False)
        given = dict(data, losses=losses, batch_size=32, shuffle=False, verbose=0)
        done = distill(teacher, student, **given)
        found.append([*student.get_weights(), done.history["loss"][0]])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", [list, dict])
def test_losses_of_several_outputs_are_added_up(form):
    def two():
        inputs = keras.Input((3,))
        ends = {
            n: keras.layers.Dense(k, name=n)(inputs) for n, k in (("b", 2), ("a", 4))
        }
        return keras.Model(inputs, ends if form is dict else list(ends.values()))

    rng = np.random.default_rng(0)
    x, b, a = (rng.normal(size=(8, n)).astype("float32") for n in (3, 2, 4))
    student = two()
    y, losses = [b, a], ["mse", keras.losses.MeanAbsoluteError()]
    if form is dict:
        y, losses = ({"b": first, "a": second} for first, second in (y, losses))
    student.compile(keras.optimizers.SGD(0.0), losses, jit_compile=False)
    outputs = student(x)
    first, second = (outputs["b"], outputs["a"]) if form is dict else outputs
    kept = {"label_weight": 0.5, "batch_size": 8, "verbose": 0}
    found = distill(two(), student, x=x, y=y, losses=SoftTargets(), **kept)
    expected = np.mean((first - b) ** 2) + np.mean(np.abs(second - a))
    assert found.history["student_loss"] == [pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize("form", ["one", "list", "dict"])
def test_losses_have_the_weights_that_compile_got(form):
    inputs = keras.Input((3,))
    ends = [keras.layers.Dense(k, name=n)(inputs) for n, k in (("b", 2), ("a", 4))]

    def model():
        copied = keras.models.clone_model(keras.Model(inputs, ends))
        return keras.Sequential([keras.Input((3,)), *copied.layers[1:2]]), copied

    rng = np.random.default_rng(0)
    x, b, a = (rng.normal(size=(8, n)).astype("float32") for n in (3, 2, 4))
    teacher, student = (model()[form != "one"] for _ in range(2))
    weights = {"one": [3.0], "list": [3.0, 0.5], "dict": {"a": 0.5, "b": 3.0}}[form]
    losses = {"one": ["mse"], "list": "mse", "dict": {"a": "mse", "b": "mse"}}[form]
    student.compile(keras.optimizers.SGD(0.0), losses, loss_weights=weights)
    y = b if form == "one" else [b, a]
    found = distill(teacher, student, x=x, y=y, batch_size=8, verbose=0)
    outputs = student(x) if form != "one" else [student(x)]
    expected = sum(
        weight * np.mean((output - wanted) ** 2)
        for weight, output, wanted in zip((3.0, 0.5), outputs, (b, a), strict=False)
    )
    assert found.history["student_loss"] == [pytest.approx(expected, rel=1e-5)]
