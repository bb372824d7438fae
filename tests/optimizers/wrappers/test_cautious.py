import keras
import numpy as np
import pytest

from keras_ext.optimizers import Cautious, GradientPipeline
from tests.optimizers.wrappers.followed import FIXTURE, followed


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("adamw", keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-12)),
        ("lion", keras.optimizers.Lion(0.01, weight_decay=0.1)),
    ],
)
def test_follows_timm(name, inner):
    path = followed(Cautious(inner))
    np.testing.assert_allclose(path, FIXTURE[f"cautious/{name}"], atol=5e-6)


def test_without_momentum_it_changes_nothing():
    made = [keras.optimizers.SGD(0.01, weight_decay=0.1) for _ in range(2)]
    plain, cautious = followed(made[0]), followed(Cautious(made[1]))
    np.testing.assert_allclose(cautious, plain, atol=1e-6)


def test_it_has_to_see_the_gradient_of_an_update():
    pipeline = GradientPipeline("adam", accumulation_steps=2)
    with pytest.raises(ValueError, match="must be one that does not accumulate"):
        Cautious(pipeline)
    GradientPipeline(Cautious("adam"), accumulation_steps=2)
