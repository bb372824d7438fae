import keras
import numpy as np
import pytest

from keras_ext.schedules import CyclicalLearningRate, Rex, plot


def test_draws_what_the_optimizer_will_see():
    schedule = Rex(0.5, 30)
    (line,) = schedule.plot(40).axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(40))
    np.testing.assert_allclose(line.get_ydata(), schedule(np.arange(40)), rtol=1e-6)


def test_draws_those_of_keras_beside_with_names():
    cosine = keras.optimizers.schedules.CosineDecay(
        0.0, 20, warmup_target=1.0, warmup_steps=5
    )
    cyclic = CyclicalLearningRate(0.1, 0.2, 3)
    (axes,) = plot({"cosine": cosine, "US$ per A$": cyclic}, 30).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "cosine",
        r"US\$ per A\$",
    ]


def test_says_what_can_be_drawn():
    with pytest.raises(ValueError, match=r"`schedules` must be a schedule, or a dict"):
        plot(0.1, 10)
