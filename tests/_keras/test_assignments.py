"""A Keras whose objects keep their numbers elsewhere must fail here."""

import keras
import pytest

from keras_ext._keras._assignments import hear_assignments


class Secret(float):
    """Marks an attribute that is being listened to."""


heard = []


def takes(present, value):
    if isinstance(present, Secret):
        heard.append(value)
        return True
    return False


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (keras.layers.Dropout(Secret(0.5)), "rate"),
        (keras.layers.LSTMCell(2, dropout=Secret(0.5)), "dropout"),
        (keras.layers.BatchNormalization(momentum=Secret(0.5)), "momentum"),
        (keras.optimizers.AdamW(weight_decay=Secret(0.5)), "weight_decay"),
        (keras.losses.CategoricalCrossentropy(), "label_smoothing"),
        (keras.regularizers.L2(0.5), "l2"),
    ],
    ids=lambda owner: type(owner).__name__,
)
def test_an_assignment_is_heard_and_others_go_on(owner, name):
    hear_assignments(takes)
    hear_assignments(takes)  # Once is enough.
    object.__setattr__(owner, name, Secret(0.5))
    heard.clear()
    setattr(owner, name, 0.25)
    assert heard == [0.25]
    assert type(getattr(owner, name)) is Secret
    object.__setattr__(owner, name, 0.5)
    setattr(owner, name, 0.75)
    owner.something_else = 1
    assert getattr(owner, name) == 0.75
    assert heard == [0.25]
