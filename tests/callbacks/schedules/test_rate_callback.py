import pytest

from keras_ext.callbacks.schedules._rate_callback import answered_factor


class Answer:
    def __init__(self, answer):
        self.answer = answer

    def update(self, measurement):
        return self.answer


def test_a_change_is_one_of_the_logarithm():
    assert answered_factor(Answer(2.0), 0.1, "factor") == 2.0
    assert answered_factor(Answer(0.0), 0.1, "change") == 1.0
    assert answered_factor(Answer(-1.0), 0.1, "change") == pytest.approx(1 / 2.71828183)


@pytest.mark.parametrize(
    ("answer", "answers"),
    [(0.0, "factor"), (None, "factor"), (float("nan"), "change")],
)
def test_nothing_else_is_multiplied_by(answer, answers):
    with pytest.raises(ValueError, match=r"`Answer.update\(0.1\)` must be a"):
        answered_factor(Answer(answer), 0.1, answers)
