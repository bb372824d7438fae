"""A student whose layers learn those of a teacher that is wider."""

import keras

from keras_ext._core._checks import require
from keras_ext._core._described import Described
from keras_ext._core._typing import Config, Data, Function, Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_ext")
class ProjectedFeatures(Described, keras.distillation.FeatureDistillation):
    """Makes a student's layer learn the output of a teacher's layer.

    This is `keras.distillation.FeatureDistillation`, which needs layers of the same
    width. If the widths differ, a linear map brings the student's channels to the
    teacher's number; it is trained along and then dropped. Use it in `distill`, which
    trains the map.

    Args:
        teacher_layer_name: The layer of the teacher.
        student_layer_name: The layer of the student.
        loss: What compares them, as Keras takes losses. Defaults to `"mse"`.

    Raises:
        ValueError: If an argument is not of this form. When it is used, if there are no
            such layers, or they differ in more than the last axis.

    Examples:
        >>> import keras_ext as kx
        >>> loss = kx.compression.ProjectedFeatures("block4", "block2")

    References:
        - [Romero et al., 2014](https://arxiv.org/abs/1412.6550)
    """

    def __init__(
        self,
        teacher_layer_name: str,
        student_layer_name: str,
        *,
        loss: str | Function = "mse",
    ) -> None:
        check_names(teacher_layer_name, student_layer_name)
        is_loss = isinstance(loss, str) or callable(loss)
        require(is_loss, "loss", loss, "a loss, or the name of one")
        super().__init__(loss, teacher_layer_name, student_layer_name)
        self.projection: keras.Layer | None = None

    def validate_model_compatibility(
        self, teacher: keras.Model, student: keras.Model
    ) -> None:
        super().validate_model_compatibility(teacher, student)
        known, learned = shapes_of_layers(self, teacher, student)
        fits = known[1:-1] == learned[1:-1]
        rule = f"a layer that gives {known[1:]} but for the last axis"
        require(fits, "student_layer_name", self.student_layer_name, rule)
        # Anew for each distillation, whose layers may need none.
        self.projection = None
        if known[-1] != learned[-1]:
            self.projection = keras.layers.Dense(known[-1], use_bias=False)
            self.projection.build(learned)

    def compute_loss(
        self, teacher_outputs: Data, student_outputs: Data, **kwargs: object
    ) -> Tensor:
        if self.projection is not None:
            student_outputs = self.projection(student_outputs)
        return super().compute_loss(teacher_outputs, student_outputs, **kwargs)

    def get_config(self) -> Config:
        return super().get_config()


def check_names(teacher_layer_name: object, student_layer_name: object) -> None:
    """Checks that both are names of layers."""
    for name, value in (
        ("teacher_layer_name", teacher_layer_name),
        ("student_layer_name", student_layer_name),
    ):
        is_name = isinstance(value, str) and value != ""
        require(is_name, name, value, "the name of a layer")


def shapes_of_layers(
    loss: keras.distillation.DistillationLoss,
    teacher: keras.Model,
    student: keras.Model,
) -> tuple[Shape, Shape]:
    """The shapes of what the two layers of a loss give.

    Raises:
        ValueError: If they do not have as many axes, or give several outputs.
    """
    layers = (
        teacher.get_layer(loss.teacher_layer_name),
        student.get_layer(loss.student_layer_name),
    )
    shapes = [getattr(layer.output, "shape", None) for layer in layers]
    names = ("teacher_layer_name", "student_layer_name")
    for name, layer, shape in zip(names, layers, shapes, strict=True):
        require(shape is not None, name, layer.name, "a layer with one output")
    known, learned = (tuple(shape or ()) for shape in shapes)
    rule = f"a layer whose output has {len(known)} axes, as that of the teacher"
    fits = len(known) == len(learned)
    require(fits, "student_layer_name", loss.student_layer_name, rule)
    return known, learned
