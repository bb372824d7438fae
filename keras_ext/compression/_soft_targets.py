"""A student that learns what a teacher gives to all classes."""

from typing import Self

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_ext._core._checks import number, require
from keras_ext._core._described import Described
from keras_ext._core._typing import Config, Data, Tensor
from keras_ext.compression._class_scores import ClassScores


@keras.saving.register_keras_serializable(package="keras_ext")
class SoftTargets(Described, keras.distillation.LogitsDistillation):
    """Teaches a student the probabilities that a teacher gives to all classes.

    This is `keras.distillation.LogitsDistillation` (the divergence of both
    distributions at a temperature, times its square), but it knows how models end. If a
    model ends with a softmax, Keras silently takes the softmax of a softmax; for a
    single sigmoid it gives zero; and by default, in Keras 3.15, it takes no softmax at
    all. Use it in `distill` or, without a schedule, in Keras's own `Distiller`.

    Args:
        temperature: Number > 0 that logits are divided by, or a schedule of it by the
            number of updates, as Keras has them for learning rates. Large ones show
            more of what is improbable. Defaults to `4.0`.
        from_logits: Whether the models end without a softmax. None means to look.

    Raises:
        ValueError: If an argument is not of this form. When it is used, if it cannot be
            known how a model ends.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> falling = keras.optimizers.schedules.PolynomialDecay(8.0, 1000, 1.0)
        >>> loss = kx.compression.SoftTargets(falling)

    References:
        - [Hinton et al., 2015](https://arxiv.org/abs/1503.02531)
    """

    def __init__(
        self,
        temperature: float | LearningRateSchedule = 4.0,
        *,
        from_logits: bool | None = None,
    ) -> None:
        self.given_temperature = checked_temperature(temperature)
        is_number = not isinstance(temperature, LearningRateSchedule)
        # By its name, Keras takes it for a function and not for the class that it looks
        # for, and then compares logits as if they were shares.
        # Keras takes numbers alone: that of a schedule is set in `see_batch`.
        super().__init__(float(temperature) if is_number else 1.0, _Divergence())
        self.from_logits = checked_from_logits(from_logits)
        self._scores = ClassScores(from_logits)

    def validate_model_compatibility(
        self, teacher: keras.Model, student: keras.Model
    ) -> None:
        self._scores.look_at(teacher, student, self.from_logits)

    def see_batch(self, labels: Data, step: Tensor) -> None:
        """Takes the temperature of a step."""
        if isinstance(self.given_temperature, LearningRateSchedule):
            self.temperature = self.given_temperature(step)

    def compute_loss(
        self, teacher_outputs: Data, student_outputs: Data, **kwargs: object
    ) -> Tensor:
        pairs = zip(
            self._scores.logits(teacher_outputs, of=0),
            self._scores.logits(student_outputs, of=1),
            strict=True,
        )
        # A comprehension is a function of its own before Python 3.12: no bare
        # `super()`.
        losses = [super(SoftTargets, self).compute_loss(*pair) for pair in pairs]
        return keras.ops.sum(keras.ops.stack(losses))

    def get_config(self) -> Config:
        temperature = self.given_temperature
        if isinstance(temperature, LearningRateSchedule):
            temperature = keras.saving.serialize_keras_object(temperature)
        return {"temperature": temperature, "from_logits": self.from_logits}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        if isinstance(config["temperature"], dict):
            schedule = keras.saving.deserialize_keras_object(config["temperature"])
            config = {**config, "temperature": schedule}
        return cls(**config)


class _Divergence(keras.losses.KLDivergence):
    """The divergence of each row; it is Keras's `LogitsDistillation` that averages."""

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Data = None
    ) -> Tensor:
        return self.call(y_true, y_pred)


def checked_temperature(
    temperature: float | LearningRateSchedule,
) -> float | LearningRateSchedule:
    """Checks a number, or a schedule of it."""
    if not isinstance(temperature, LearningRateSchedule):
        number(temperature, "temperature", above=0)
    return temperature


def checked_from_logits(from_logits: bool | None) -> bool | None:
    """Checks whether it is True, False or None."""
    valid = from_logits is None or isinstance(from_logits, bool)
    require(valid, "from_logits", from_logits, "True, False or None")
    return from_logits
