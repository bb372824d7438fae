import keras
import numpy as np
import pytest

from keras_ext.compression import ProjectedFeatures


def model(units, length=None):
    shape = (3,) if length is None else (length, 3)
    return keras.Sequential(
        [keras.Input(shape), keras.layers.Dense(units, name="dense")]
    )


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_of_the_same_width_it_is_that_of_keras():
    loss = ProjectedFeatures("dense", "dense", loss="mae")
    loss.validate_model_compatibility(model(4), model(4))
    assert loss.projection is None
    a, b = numbers(2, 5, 4)
    np.testing.assert_allclose(
        loss.compute_loss(a, b), np.mean(np.abs(a - b)), rtol=1e-6
    )


def test_of_another_width_the_student_is_mapped_to_that_of_the_teacher():
    loss = ProjectedFeatures("dense", "dense")
    loss.validate_model_compatibility(model(4, 7), model(2, 7))
    known, learned = numbers(5, 7, 4), numbers(5, 7, 2)
    mapped = learned @ np.array(loss.projection.kernel)
    expected = np.mean(np.square(known - mapped))
    np.testing.assert_allclose(loss.compute_loss(known, learned), expected, rtol=1e-5)
    again = ProjectedFeatures.from_config(loss.get_config())
    assert again.teacher_layer_name == "dense"


def test_rejects_what_differs_in_more_than_the_width():
    loss = ProjectedFeatures("dense", "dense")
    with pytest.raises(ValueError, match="whose output has 3 axes"):
        loss.validate_model_compatibility(model(4, 7), model(4))
    with pytest.raises(ValueError, match=r"gives \(7, 4\) but for the last axis"):
        loss.validate_model_compatibility(model(4, 7), model(4, 8))
    with pytest.raises(ValueError, match="In student model: No such layer: other"):
        ProjectedFeatures("dense", "other").validate_model_compatibility(
            model(2), model(2)
        )
