import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._engine._forwarding_optimizer import ForwardingOptimizer


class Counting(ForwardingOptimizer):
    """Has a variable of its own."""

    def build(self, variables):
        super().build(variables)
        self.count = keras.Variable(0.0, name="count")

    @property
    def own_variables(self):
        return [self.count]


def counting(optimizer):
    made = Counting(optimizer)
    made.build([keras.Variable([1.0, 2.0], name="kernel")])
    return made


def test_answers_for_the_optimizer_that_it_wraps():
    inner = keras.optimizers.AdamW(0.01, weight_decay=0.2, beta_1=0.8, clipnorm=3.0)
    outer = ForwardingOptimizer(inner)
    for name in ("weight_decay", "clipnorm", "beta_1", "use_ema", "loss_scale_factor"):
        assert getattr(outer, name) == getattr(inner, name)
    outer.learning_rate = 0.5
    assert float(inner.learning_rate) == float(outer.learning_rate) == 0.5
    assert outer.iterations is inner.iterations
    with pytest.raises(AttributeError):
        outer.no_such_thing  # noqa: B018


def test_behind_loss_scaling_it_answers_for_the_optimizer_that_steps():
    sgd = keras.optimizers.SGD(0.1, momentum=0.7, clipvalue=2.0)
    scaler = keras.optimizers.LossScaleOptimizer(sgd)
    outer = ForwardingOptimizer(scaler)
    assert outer.scaler is scaler
    assert outer.inner_optimizer is sgd
    assert (outer.momentum, outer.clipvalue) == (0.7, 2.0)
    assert ForwardingOptimizer(sgd).scaler is None


@pytest.mark.parametrize("wrap", [lambda o: o, keras.optimizers.LossScaleOptimizer])
def test_what_is_assigned_reaches_the_optimizer_that_steps(wrap):
    inside = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1, clipnorm=1.0)
    twice = ForwardingOptimizer(ForwardingOptimizer(wrap(inside)))
    changed = {"momentum": 0.5, "weight_decay": 0.2, "clipnorm": 2.0}
    for name, value in changed.items():
        setattr(twice, name, value)
    assert {name: vars(inside)[name] for name in changed} == changed
    assert not {"momentum", "weight_decay", "clipnorm"} & set(vars(twice))


def test_an_argument_of_its_own_is_not_taken_for_one_of_the_wrapped_optimizer():
    inside = keras.optimizers.SGD(0.1, momentum=0.9)

    class Own(ForwardingOptimizer):
        def __init__(self, optimizer, momentum):
            super().__init__(optimizer)
            self.momentum = momentum

    own = Own(inside, momentum=0.5)
    own.momentum = 0.4
    assert (own.momentum, inside.momentum) == (0.4, 0.9)


def test_its_variables_come_before_those_of_the_wrapped_one():
    inner = keras.optimizers.SGD(0.1, momentum=0.7)
    outer = counting(inner)
    assert outer.variables[0] is outer.count
    pairs = zip(outer.variables[1:], inner.variables, strict=True)
    assert all(mine is theirs for mine, theirs in pairs)
    weights = [np.full(v.shape, i) for i, v in enumerate(outer.variables)]
    outer.set_weights(weights)
    for variable, weight in zip(outer.variables, weights, strict=True):
        np.testing.assert_array_equal(variable, weight)


def test_only_its_own_are_saved_by_it():
    outer, store = counting(keras.optimizers.SGD(0.1, momentum=0.7)), {}
    outer.count.assign(5.0)
    outer.save_own_variables(store)
    assert list(store) == ["0"]
    other = counting(keras.optimizers.SGD(0.1))
    other.load_own_variables(store)
    assert float(other.count) == 5.0
    with pytest.warns(UserWarning, match="Skipping the 2 variables that were saved"):
        other.load_own_variables({"0": 1.0, "1": 2.0})
    assert float(other.count) == 5.0


def test_it_knows_whether_it_was_asked_to_scale_the_loss():
    outer = ForwardingOptimizer(keras.optimizers.SGD(0.1, loss_scale_factor=4.0))
    assert not outer.loss_is_scaled
    assert float(outer.scale_loss(tf.constant(3.0))) == 12.0
    assert outer.loss_is_scaled


def test_weights_are_left_out_of_the_decay_of_the_wrapped_one():
    inner = keras.optimizers.SGD(0.1, weight_decay=0.5)
    kernel, bias = (keras.Variable([1.0], name=name) for name in ("kernel", "bias"))
    ForwardingOptimizer(inner).exclude_from_weight_decay(var_names=["bias"])
    inner.build([kernel, bias])
    inner.apply([tf.zeros(1), tf.zeros(1)], [kernel, bias])
    assert (float(kernel[0]), float(bias[0])) == (pytest.approx(0.95), 1.0)


def test_what_is_only_half_made_asks_nobody():
    """As copies and unpickled ones are for a moment."""
    empty = ForwardingOptimizer.__new__(ForwardingOptimizer)
    with pytest.raises(AttributeError):
        empty.momentum  # noqa: B018
    with pytest.raises(AttributeError):
        copy.copy(empty).momentum  # noqa: B018


def test_averages_are_those_of_the_wrapped_one_and_no_others():
    """Where `SwapEMAWeights` looks for them."""
    inner = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    outer = counting(counting(inner))
    assert outer.use_ema
    averages = "_model_variables_moving_average"
    assert getattr(outer, averages) is getattr(inner, averages)
    # The count, twice; iterations and rate; and one average.
    assert len(outer.variables) == 2 + 2 + 1


def test_pairs_leave_out_weights_without_a_gradient():
    outer = ForwardingOptimizer(keras.optimizers.SGD(0.1))
    kernel, bias = (keras.Variable([1.0], name=name) for name in ("kernel", "bias"))
    gradient = tf.ones(1)
    assert outer.pairs([gradient, None], [kernel, bias]) == [(gradient, kernel)]
    assert outer.built
    assert outer.pairs([None, gradient], None) == [(gradient, bias)]
    assert outer.pairs([], []) == []
    with pytest.raises(ValueError, match="at least one of them not None"):
        outer.pairs([None, None], None)


def test_what_it_sets_is_its_own_though_the_wrapped_one_has_the_same():
    class Remembering(ForwardingOptimizer):
        def __init__(self, optimizer):
            super().__init__(optimizer)
            self._found = None

    inner = Remembering(keras.optimizers.SGD(0.1))
    outer = Remembering(inner)
    inner._found = "by the inner one"
    assert outer._found is None
