import keras
import numpy as np
import pytest

from keras_ext._engine._rule_optimizer import RuleOptimizer, Slot


class Rule(RuleOptimizer):
    """Takes off the rate times an average, and counts."""

    def __init__(self, learning_rate=0.1, *, beta=0.5, **options):
        super().__init__(learning_rate, **options)
        self.beta = beta

    def slots(self, variable):
        start = Slot(initial=lambda v: v.value)
        return {"average": Slot(), "start": start, "ones": Slot((2,), 1.0)}

    def numbers(self):
        return {"count": 3.0}

    def coefficients(self, now):
        now.numbers["count"] = now.numbers["count"] + 1
        return now.rate

    def change(self, part, given):
        return given * part.average("average", part.gradient, self.beta)


def weights(*values, dtype="float32"):
    return [keras.Variable(v, dtype=dtype, name=f"w{i}") for i, v in enumerate(values)]


def test_a_rule_is_written_to_weights_slots_and_numbers():
    variables = weights([1.0, 2.0], 5.0)
    rule = Rule()
    rule.apply([keras.ops.array([4.0, 8.0]), keras.ops.array(0.0)], variables)
    np.testing.assert_allclose(variables[0], [1 - 0.2, 2 - 0.4])
    slots = rule.slots_of(variables[0])
    np.testing.assert_allclose(slots["average"], [2, 4])
    np.testing.assert_allclose(slots["start"], [1, 2])
    np.testing.assert_allclose(slots["ones"], [1, 1])
    assert float(rule.number_of("count")) == 4
    assert float(variables[1]) == 5
    names = [v.name for v in rule.variables]
    assert names[2:] == [*(f"w{i}_{n}" for i in (0, 1) for n in slots), "count"]


def test_decay_is_multiplied_by_the_rate_and_may_be_excluded():
    variables = weights(1.0, 1.0)
    rule = Rule(0.1, weight_decay=0.5)
    rule.exclude_from_weight_decay(var_names=["w1"])
    rule.apply([keras.ops.array(0.0)] * 2, variables)
    np.testing.assert_allclose([float(v) for v in variables], [0.95, 1.0])


def test_it_computes_in_float32_and_more():
    for dtype, kept in (("float16", "float32"), ("float64", "float64")):
        (variable,) = weights([1.0], dtype=dtype)
        rule = Rule()
        rule.build([variable])
        assert {v.dtype for v in rule.slots_of(variable).values()} == {kept}
        rule.apply([keras.ops.array([1.0], dtype)], [variable])
        assert variable.dtype == dtype


def test_weights_without_a_gradient_and_those_that_it_replaces_are_left_alone():
    variables = weights(1.0, 2.0, 3.0)
    variables[2].overwrite_with_gradient = True
    rule = Rule()
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        rule.apply([keras.ops.array(1.0), None, keras.ops.array(7.0)], variables)
    np.testing.assert_allclose([float(v) for v in variables], [0.95, 2.0, 7.0])
    assert rule.slots_of(variables[2]) == {}


def test_constraints_hold_after_the_update():
    variable = keras.Variable([0.1], name="kernel")
    variable.constraint = keras.constraints.NonNeg()
    Rule(1.0).apply([keras.ops.array([2.0])], [variable])
    assert float(variable[0]) == 0


def test_arguments_are_in_the_config_under_their_names():
    config = Rule(0.3, beta=0.7, clipnorm=2.0, name="rule").get_config()
    assert config["learning_rate"] == pytest.approx(0.3)
    assert (config["beta"], config["clipnorm"], config["name"]) == (0.7, 2.0, "rule")
    assert Rule.from_config(config).get_config() == config


@pytest.mark.parametrize("rate", [1, 0.5, lambda: 0.5])
def test_rates_are_numbers_schedules_or_functions(rate):
    assert float(Rule(rate).learning_rate) == (1 if rate == 1 else 0.5)


@pytest.mark.parametrize("rate", ["fast", -1.0, None, float("nan")])
def test_other_rates_are_refused(rate):
    with pytest.raises(ValueError, match="`learning_rate` must be a number >= 0"):
        Rule(rate)


def test_a_number_is_there_when_built():
    with pytest.raises(ValueError, match="asked for when the optimizer is built"):
        Rule().number_of("count")
