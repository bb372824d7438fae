import re

import pytest

from keras_ext._engine._adaptive_rule import AdaptiveRule


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("beta_1", 1.0, "a number in [0, 1)"),
        ("beta_2", -0.1, "a number in [0, 1)"),
        ("epsilon", 0.0, "a number > 0"),
    ],
)
def test_arguments_are_those_of_adam(name, value, expected):
    valid = {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8}
    rule = AdaptiveRule(0.1, **valid)
    assert (rule.beta_1, rule.beta_2, rule.epsilon) == (0.9, 0.99, 1e-8)
    with pytest.raises(ValueError, match=re.escape(f"`{name}` must be {expected}")):
        AdaptiveRule(0.1, **{**valid, name: value})
