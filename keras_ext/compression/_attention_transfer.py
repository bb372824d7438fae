"""A student that looks where a teacher looks."""

import keras
from keras import ops

from keras_ext._core._checks import number, require
from keras_ext._core._described import Described
from keras_ext._core._typing import Config, Data, Tensor
from keras_ext.compression._projected_features import check_names, shapes_of_layers


@keras.saving.register_keras_serializable(package="keras_ext")
class AttentionTransfer(Described, keras.distillation.DistillationLoss):
    """Makes a student's layer active in the places where a teacher's layer is.

    For each place, a power of the activations is averaged over the channels, so layers
    may have any number of channels. These maps, each divided by its norm, are compared
    by the mean squared difference. A map that is larger by a whole factor is averaged
    down to the smaller one. The loss is small: give it a weight of about 1000, as its
    authors do. Use it in `distill`, or in Keras's own `Distiller`.

    Args:
        teacher_layer_name: The layer of the teacher, with channels in the last axis.
        student_layer_name: The layer of the student, the same.
        power: Number >= 1, that of what the channels give. Defaults to `2.0`.

    Raises:
        ValueError: If an argument is not of this form. When it is used, if there are no
            such layers, or their maps do not fit.

    Examples:
        >>> import keras_ext as kx
        >>> loss = kx.compression.AttentionTransfer("block4", "block2")

    References:
        - [Zagoruyko & Komodakis, 2017](https://arxiv.org/abs/1612.03928)
    """

    def __init__(
        self, teacher_layer_name: str, student_layer_name: str, *, power: float = 2.0
    ) -> None:
        check_names(teacher_layer_name, student_layer_name)
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name
        self.power = number(power, "power", low=1)

    def validate_model_compatibility(
        self, teacher: keras.Model, student: keras.Model
    ) -> None:
        known, learned = shapes_of_layers(self, teacher, student)
        rule = "a layer with an axis of places between rows and channels"
        named = self.teacher_layer_name
        require(len(known) > 2, "teacher_layer_name", named, rule)
        for a, b in zip(known[1:-1], learned[1:-1], strict=True):
            fits = a == b or bool(a and b and (a % b == 0 or b % a == 0))
            rule = f"one whose {learned[1:-1]} places fit those of the teacher, "
            rule += f"{known[1:-1]}, but for whole factors"
            require(fits, "student_layer_name", self.student_layer_name, rule)

    def compute_loss(
        self, teacher_outputs: Data, student_outputs: Data, **kwargs: object
    ) -> Tensor:
        known, learned = self._map(teacher_outputs), self._map(student_outputs)
        known, learned = _pooled(known, learned), _pooled(learned, known)
        difference = _direction(known) - _direction(learned)
        return ops.mean(ops.square(difference))

    def _map(self, outputs: Tensor) -> Tensor:
        # The mean in the place of the paper's sum: the norm divides any factor out. In
        # float32, since powers of activations overflow in float16.
        power = ops.power(ops.abs(ops.cast(outputs, "float32")), self.power)
        return ops.mean(power, axis=-1)

    def get_config(self) -> Config:
        return {
            "teacher_layer_name": self.teacher_layer_name,
            "student_layer_name": self.student_layer_name,
            "power": self.power,
        }

    @classmethod
    def from_config(cls, config: Config) -> "AttentionTransfer":
        # `DistillationLoss` has none, and Keras loads by it.
        return cls(**config)


def _pooled(places: Tensor, like: Tensor) -> Tensor:
    """Averages a map along the axes in which it is larger than another one."""
    for axis in range(1, len(places.shape)):
        size, wanted = places.shape[axis], like.shape[axis]
        if size is not None and wanted is not None and size > wanted:
            shape = list(ops.shape(places))
            shape[axis : axis + 1] = [wanted, size // wanted]
            places = ops.mean(ops.reshape(places, shape), axis=axis + 1)
    return places


def _direction(places: Tensor) -> Tensor:
    flat = ops.reshape(places, (ops.shape(places)[0], -1))
    # The square root of a sum of zeros has no slope.
    square = ops.sum(ops.square(flat), axis=-1, keepdims=True)
    return flat * ops.rsqrt(ops.maximum(square, 1e-24))
