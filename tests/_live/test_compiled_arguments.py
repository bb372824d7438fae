"""No argument of what a step is compiled with can be set and ignored."""

import keras
import numpy as np
import pytest

import keras_ext as kx
from keras_ext._live._compiled_arguments import CompiledArguments, compiled_arguments
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.optimizers import unit_axes
from tests.cases import OPTIMIZERS, TRANSFORMS, parameters

X = np.ones((8, 3), "float32")
PLAIN = (bool, int, float)


def numbers_of(owner):
    """The arguments that are plain numbers, and another value for each."""
    own = {**vars(owner)}
    return {
        name: (not own[name]) if isinstance(own[name], bool) else own[name] + 1
        for name in compiled_arguments(type(owner)) & set(own)
        if isinstance(own[name], PLAIN)
    }


def refuses_all(owner):
    """Whether every such number is kept, with an error that names it."""
    others = numbers_of(owner)
    for name, other in others.items():
        before = getattr(owner, name)
        with pytest.raises(ValueError, match=f"`{name}` must be left at .*, which is"):
            setattr(owner, name, other)
        assert getattr(owner, name) == before
        setattr(owner, name, before)  # that is no change
    return set(others)


@pytest.mark.parametrize("case", parameters(OPTIMIZERS))
def test_an_optimizer_that_is_built_keeps_its_numbers(case):
    optimizer = case.make()
    refused = numbers_of(optimizer)
    for name, other in refused.items():
        setattr(optimizer, name, other)  # as long as nothing is compiled
        assert getattr(optimizer, name) == other
    optimizer = case.make()
    optimizer.build([keras.Variable([[1.0, 2.0], [3.0, 4.0]], name="kernel")])
    assert refuses_all(optimizer) == set(refused)
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25


@pytest.mark.parametrize("case", parameters(TRANSFORMS))
def test_a_transform_that_is_built_keeps_what_is_not_live(case):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
    transform = case.make()
    transform.build(model.trainable_variables, unit_axes(model))
    refuses_all(transform)
    for name, held in list(vars(transform).items()):
        if isinstance(held, HyperVariable) and name in compiled_arguments(
            type(transform)
        ):
            setattr(transform, name, float(held))


class Rule(CompiledArguments):
    def __init__(self, size=1.0, *, words=None, name=None):
        self.size, self.words, self.name = size, words, name
        self.count = 0


def test_what_is_no_argument_or_no_plain_value_is_free():
    rule = Rule(words=["a"])
    rule.built = True
    rule.count += 1
    rule.words = ["b"]
    rule.name = "another"
    with pytest.raises(ValueError, match=r"`size` must be left at 1\.0.*size='huge'"):
        rule.size = "huge"
    assert (rule.size, rule.count, rule.words, rule.name) == (1, 1, ["b"], "another")


class InMidTraining(keras.callbacks.Callback):
    """Calls a function in the first epoch."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 0:
            self.change()


@pytest.mark.parametrize(
    ("callback", "name", "other"),
    [
        (kx.callbacks.GradientMonitor(every=50), "every", 10),
        (
            kx.callbacks.GradientNormEarlyStopping(nonfinite="skip"),
            "nonfinite",
            "raise",
        ),
        (kx.callbacks.OneCycle(0.1), "max_learning_rate", 0.2),
        (kx.training.SharpnessAware(0.05), "adaptive", True),
        (kx.callbacks.LayerwiseAdaptiveClipping(0.1), "epsilon", 0.5),
        (kx.callbacks.LayerwiseAdaptiveClipping(rule="zclip"), "clipping", 0.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_callback_keeps_what_it_has_handed_over_until_the_fit_ends(
    callback, name, other
):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.5), "mse", run_eagerly=True)
    change = InMidTraining(lambda: setattr(callback, name, other))
    with pytest.raises(ValueError, match=f"`{name}` must be left"):
        model.fit(X, X[:, :1], callbacks=[callback, change], verbose=0)
    assert getattr(callback, name) != other
    if name != "clipping":
        setattr(callback, name, other)
        assert getattr(callback, name) == other


def test_the_clipping_of_a_running_fit_is_what_is_assigned():
    """To zero: then nothing moves any more."""
    clip = kx.callbacks.LayerwiseAdaptiveClipping(1e-3, exclude="bias")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    kernels = []

    def change():
        kernels.append(model.layers[-1].kernel.numpy())
        clip.clipping = 0.0

    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: kernels.append(model.layers[-1].kernel.numpy())
    )
    callbacks = [clip, InMidTraining(change), keep]
    model.fit(X, X[:, :1], epochs=2, callbacks=callbacks, verbose=0)
    assert (kernels[0] == kernels[-1]).all()
    assert clip.clipping == 0.0
