"""Trains a small model with what a large one knows."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from keras_ext._anatomy._sublayers import sublayers
from keras_ext._core._checks import integer, is_number, number, require
from keras_ext._core._typing import Data
from keras_ext._keras._distiller import OnePassDistiller
from keras_ext._keras._functional import is_graph
from keras_ext.compression._soft_targets import SoftTargets


@dataclass(frozen=True)
class Distillation:
    """What `distill` has done.

    Attributes:
        history: The logs of the last training, by their names.
        generations: The students that were trained, the last of which is the one given.
    """

    history: dict[str, list[float]]
    generations: list[keras.Model]


def distill(
    teacher: keras.Model,
    student: keras.Model,
    *,
    x: Data,
    y: Data = None,
    losses: keras.distillation.DistillationLoss
    | Sequence[keras.distillation.DistillationLoss]
    | None = None,
    loss_weights: Sequence[float] | None = None,
    label_weight: float = 0.5,
    generations: int = 1,
    **fit: object,
) -> Distillation:
    """Trains a student with labels and with the predictions of a teacher.

    This is a `fit` of Keras's `Distiller`, compiled like the student. The student runs
    once per step, its regularizers count, and validation does not change it. The
    teacher does not change; at the end its layers are trainable or not, as before.
    Callbacks see the distiller, whose `student` is the student; callbacks that prune or
    keep zeros work on the student's weights.

    Args:
        teacher: A trained model.
        student: A compiled model with the same inputs and outputs as the teacher; it
            is trained. Its optimizer stays as it is: a new one like it does the work.
        x: What `fit` takes, arrays or a dataset.
        y: The labels. None if `x` has them, or there are none.
        losses: What is learned of the teacher: losses of `keras.distillation`, or
            `SoftTargets`, `DecoupledDistillation`, `ProjectedFeatures` and
            `AttentionTransfer`. None means `SoftTargets()`.
        loss_weights: A number for each of several losses. None means ones.
        label_weight: Number in [0, 1], the weight of the student's own loss, with the
            labels; the rest is that of the `losses`. Defaults to `0.5`.
        generations: Integer >= 1, how many students are trained one after the other,
            each from new weights with the one before as its teacher. Defaults to `1`.
        **fit: What else `fit` takes: `epochs`, `batch_size`, `validation_data`,
            `callbacks` and so on, but no weights of samples or classes, which Keras's
            `Distiller` leaves out.

    Returns:
        What was done: `history`, the logs of the last training, and `generations`, the
        students, the last of which is the one that was given.

    Raises:
        ValueError: If an argument is not of this form, or the models do not fit.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(64, 4)), rng.integers(0, 3, 64)
        >>> def model(units):
        ...     hidden = keras.layers.Dense(units, "relu")
        ...     layers = [keras.Input((4,)), hidden, keras.layers.Dense(3, "softmax")]
        ...     model = keras.Sequential(layers)
        ...     model.compile("adam", "sparse_categorical_crossentropy")
        ...     return model
        >>> teacher, student = model(64), model(4)
        >>> distilled = kx.compression.distill(
        ...     teacher, student, x=x, y=y, epochs=2, verbose=0
        ... )
        >>> len(distilled.history["loss"]), teacher.trainable
        (2, True)

    References:
        - [Hinton et al., 2015](https://arxiv.org/abs/1503.02531)
        - [Furlanello et al., 2018](https://arxiv.org/abs/1805.04770) (generations)
    """
    _require_models(teacher, student)
    generations = integer(generations, "generations", low=1)
    given = _checked_losses(losses)
    weights = _checked_weights(loss_weights, len(given))
    label_weight = number(label_weight, "label_weight", low=0, high=1)
    _require_no_weights(fit)
    rule = "1 for a model that is no graph, of which there can be no second one"
    require(is_graph(student) or generations == 1, "generations", generations, rule)
    trained: list[keras.Model] = []
    for generation in range(generations):
        if generation:
            trained.append(_copy(student))
            teacher = trained[-1]
            # A clone draws initial weights of its own: each generation begins anew.
            student.set_weights(keras.models.clone_model(student).get_weights())
            given = [_among_students(loss) for loss in given]
        history = _one_training(
            (teacher, student), given, weights, label_weight, x=x, y=y, **fit
        )
    return Distillation(history, [*trained, student])


def _one_training(
    models: tuple[keras.Model, keras.Model],
    losses: Sequence[keras.distillation.DistillationLoss],
    weights: list[float],
    label_weight: float,
    **fit: object,
) -> dict[str, list[float]]:
    teacher, student = models
    # Keras's Distiller sets `teacher.trainable` to False, and leaves it so.
    with kept_trainable(teacher), student.distribute_strategy.scope():
        distiller = OnePassDistiller(
            teacher,
            student,
            losses,
            distillation_loss_weights=weights,
            student_loss_weight=label_weight,
        )
        distiller.compile_like(student)
        history: dict[str, list[float]] = distiller.fit(**fit).history
    return history


@contextmanager
def kept_trainable(model: keras.Model) -> Iterator[None]:
    """Gives layers and weights back, in the end, whether they are trained."""
    layers = [(layer, layer.trainable) for layer in sublayers(model)]
    variables = [(v, v.trainable) for v in model.variables]
    try:
        yield
    finally:
        # Outer ones come first: they set those inside of them.
        for owner, flag in layers:
            owner.trainable = flag
        # After all layers, which set all of their weights.
        for variable, flag in variables:
            variable.trainable = flag


def _copy(model: keras.Model) -> keras.Model:
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied


def _among_students(
    loss: keras.distillation.DistillationLoss,
) -> keras.distillation.DistillationLoss:
    """A loss for a teacher that has the layers of the student."""
    if getattr(loss, "student_layer_name", None) is None:
        return loss
    # A teacher of the next generation is a copy of the student.
    copied = copy.copy(loss)
    copied.teacher_layer_name = copied.student_layer_name
    return copied


def _require_models(teacher: keras.Model, student: keras.Model) -> None:
    for name, value in (("teacher", teacher), ("student", student)):
        require(isinstance(value, keras.Model), name, value, "a keras.Model")
        require(value.built, name, value.name, "a built model")
    compiled = student.compiled and student.loss is not None
    hint = "Its optimizer, loss and metrics are those of the distillation."
    require(compiled, "student", student.name, "a compiled model with a loss", hint)
    known = {id(v) for v in teacher.variables}
    shared = [v.path for v in student.variables if id(v) in known]
    rule = f"a model with weights of its own, without {shared[:3]} of the teacher"
    require(not shared, "student", student.name, rule)


def _checked_losses(
    losses: keras.distillation.DistillationLoss
    | Sequence[keras.distillation.DistillationLoss]
    | None,
) -> list[keras.distillation.DistillationLoss]:
    if losses is None:
        return [SoftTargets()]
    items = list(losses) if isinstance(losses, list | tuple) else [losses]
    valid = len(items) > 0 and all(
        isinstance(x, keras.distillation.DistillationLoss) for x in items
    )
    rule = "a keras.distillation.DistillationLoss, a list of them or None"
    require(valid, "losses", losses, rule)
    return items


def _checked_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1.0] * count
    valid = isinstance(weights, list | tuple) and len(weights) == count
    valid = valid and all(is_number(w) and w >= 0 for w in weights)
    rule = f"{count} numbers >= 0, one for each loss, or None"
    require(valid, "loss_weights", weights, rule)
    return [float(w) for w in weights]


def _require_no_weights(fit: Mapping[str, object]) -> None:
    hint = "Keras's Distiller would leave them out."
    for name in ("sample_weight", "class_weight"):
        value = fit.get(name)
        require(value is None, name, value, "None in distillation", hint)
