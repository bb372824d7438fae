import keras
import numpy as np
import pytest

from keras_ext.compression._class_scores import ClassScores, ends_of

layers = keras.layers


def ending_with(*last, units=3):
    inputs = keras.Input((2,))
    x = layers.Dense(units, name="logits")(inputs)
    for layer in last:
        x = layer(x)
    return keras.Model(inputs, x)


X = np.array([[1.0, -2.0], [30.0, 20.0]], "float32")
ENDS = {
    "logits": (),
    "activation": (layers.Activation("softmax"),),
    "layer": (layers.Softmax(),),
    "operation": (keras.ops.softmax,),
    "model": (keras.Sequential([keras.Input((3,)), layers.Softmax()]),),
}


@pytest.mark.parametrize("end", ENDS)
def test_finds_the_logits_of_every_end_but_for_a_constant(end):
    model = ending_with(*ENDS[end])
    scores = ClassScores(None)
    scores.look_at(model, model, None)
    (found,) = scores.logits(model(X), of=0)
    logits = np.array(model.get_layer("logits")(X))
    difference = np.array(found) - logits
    spread = difference - difference.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(spread, 0, atol=1e-4)


def test_a_sigmoid_is_a_choice_of_two():
    model = ending_with(layers.Activation("sigmoid"), units=1)
    scores = ClassScores(None)
    scores.look_at(model, model, None)
    (found,) = scores.logits(model(X), of=1)
    share = np.array(keras.ops.softmax(found))[:, 1]
    np.testing.assert_allclose(share, np.array(model(X))[:, 0], rtol=1e-5)


def test_each_output_of_a_model_inside_has_its_own_end():
    inputs = keras.Input((2,))
    yes = layers.Dense(2, "sigmoid")(inputs)
    outputs = [layers.Dense(3)(inputs), layers.Dense(3, "softmax")(inputs), yes]
    first, second, _ = keras.Model(inputs, outputs)(inputs)
    assert ends_of(keras.Model(inputs, [second, first])) == ["softmax", ""]
    steps = layers.TimeDistributed(layers.Dense(3, "softmax"))
    assert ends_of(keras.Sequential([keras.Input((4, 2)), steps])) == ["softmax"]


def test_what_is_said_holds_for_a_student_that_is_no_graph():
    class Own(keras.Model):
        def call(self, x):
            return x

    teacher, own = ending_with(layers.Softmax()), Own()
    scores = ClassScores(False)
    scores.look_at(teacher, own, False)
    found = [scores.logits(teacher(X), of=of)[0] for of in (0, 1)]
    np.testing.assert_allclose(found[0], np.log(teacher(X)), rtol=1e-5)
    np.testing.assert_array_equal(*found)
    with pytest.raises(ValueError, match="`from_logits` must be True or False, since"):
        ClassScores(None).look_at(
            teacher, keras.Sequential([keras.Input((3,)), own]), None
        )


def test_rejects_what_it_cannot_know():
    several = ending_with(layers.Activation("sigmoid"))
    with pytest.raises(ValueError, match="several outputs of sigmoids are questions"):
        ClassScores(None).look_at(several, several, None)

    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="`from_logits` must be True or False, since"):
        ClassScores(None).look_at(Own(), several, None)
