"""What a teacher says of the right class, and what of the others, apart."""

import keras
from keras import ops

from keras_ext._core._checks import number, require
from keras_ext._core._described import Described
from keras_ext._core._typing import Config, Data, Tensor
from keras_ext.compression._class_scores import ClassScores
from keras_ext.compression._soft_targets import checked_from_logits

# What takes a class out of a softmax. Not infinity: a share of 0 times a difference of
# infinities is NaN.
_OUT = 1e9


@keras.saving.register_keras_serializable(package="keras_ext")
class DecoupledDistillation(Described, keras.distillation.DistillationLoss):
    """Teaches a student what a teacher knows of wrong classes, however sure it is.

    The divergence of `SoftTargets` has two parts: one for the probability of the right
    class, and one among the other classes, weighted by the probability that the teacher
    leaves them. So a sure teacher hardly teaches what it knows of the other classes.
    Here each part has its own weight. Use it in `distill`, which knows the labels.

    Args:
        temperature: Number > 0 that logits are divided by. Defaults to `4.0`.
        alpha: Number >= 0, the weight of the part of the right class. Defaults to
            `1.0`.
        beta: Number >= 0, the weight of the part of the others. Defaults to `8.0`.
        from_logits: Whether the models end without a softmax. None means to look.

    Raises:
        ValueError: If an argument is not of this form. When it is used, if there are no
            labels, or it cannot be known how a model ends.

    Examples:
        >>> import keras_ext as kx
        >>> loss = kx.compression.DecoupledDistillation(beta=2.0)

    References:
        - [Zhao et al., 2022](https://arxiv.org/abs/2203.08679)
    """

    def __init__(
        self,
        temperature: float = 4.0,
        *,
        alpha: float = 1.0,
        beta: float = 8.0,
        from_logits: bool | None = None,
    ) -> None:
        self.temperature = number(temperature, "temperature", above=0)
        self.alpha = number(alpha, "alpha", low=0)
        self.beta = number(beta, "beta", low=0)
        self.from_logits = checked_from_logits(from_logits)
        self._scores = ClassScores(from_logits)
        self._labels: Data = None

    def validate_model_compatibility(
        self, teacher: keras.Model, student: keras.Model
    ) -> None:
        outputs = getattr(teacher, "outputs", None) or [None]
        one = len(outputs) == 1
        require(one, "teacher", teacher.name, "a model with one output")
        self._scores.look_at(teacher, student, self.from_logits)

    def see_batch(self, labels: Data, step: Tensor) -> None:
        """Takes the labels of a step."""
        self._labels = labels

    def compute_loss(
        self, teacher_outputs: Data, student_outputs: Data, **kwargs: object
    ) -> Tensor:
        (teacher,) = self._scores.logits(teacher_outputs, of=0)
        (student,) = self._scores.logits(student_outputs, of=1)
        right = self._right_classes(ops.shape(teacher)[-1])
        teacher, student = teacher / self.temperature, student / self.temperature
        target = _divergence(*(_two_logits(z, right) for z in (teacher, student)))
        others = _divergence(*(z - _OUT * right for z in (teacher, student)))
        # The paper's TCKD and NCKD.
        loss = self.alpha * ops.mean(target) + self.beta * ops.mean(others)
        # Gradients of softened targets shrink with 1 / T**2.
        return loss * self.temperature**2

    def _right_classes(self, count: int) -> Tensor:
        """The labels as ones and zeros."""
        hint = "Give `y` to `distill`: labels, as integers or with a one in each row."
        labels = self._labels
        require(labels is not None, "y", labels, "given for this loss", hint)
        if len(labels.shape) > 1 and labels.shape[-1] == count:
            return ops.cast(labels, "float32")
        if len(labels.shape) > 1 and labels.shape[-1] == 1:
            labels = ops.squeeze(labels, axis=-1)
        return ops.one_hot(ops.cast(labels, "int32"), count, dtype="float32")

    def get_config(self) -> Config:
        return {
            "temperature": self.temperature,
            "alpha": self.alpha,
            "beta": self.beta,
            "from_logits": self.from_logits,
        }

    @classmethod
    def from_config(cls, config: Config) -> "DecoupledDistillation":
        return cls(**config)


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """That of the shares of a teacher from those of a student, by their logits."""
    known, learned = ops.log_softmax(teacher), ops.log_softmax(student)
    return ops.sum(ops.exp(known) * (known - learned), axis=-1)


def _two_logits(logits: Tensor, right: Tensor) -> Tensor:
    """Logits of the right class and of all the others together."""
    one = ops.sum(logits * right, axis=-1)
    # The softmax of the two is (p, 1 - p), p being the share of the right class.
    rest = ops.logsumexp(logits - _OUT * right, axis=-1)
    return ops.stack([one, rest], axis=-1)
