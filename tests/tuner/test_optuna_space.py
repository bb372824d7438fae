"""Hyperparameters to Optuna and back."""

import keras_tuner
import optuna
import pytest

from keras_ext.tuner._optuna_space import Translation, translated


def declared(declare):
    hp = keras_tuner.HyperParameters()
    declare(hp)
    return hp.space


INT, FLOAT = (
    optuna.distributions.IntDistribution,
    optuna.distributions.FloatDistribution,
)
CASES = {
    "linear int": (lambda hp: hp.Int("a", 2, 9), INT(2, 9)),
    "int with a step": (lambda hp: hp.Int("a", 2, 9, step=3), INT(0, 2)),
    "log int": (lambda hp: hp.Int("a", 2, 64, sampling="log"), INT(2, 64, log=True)),
    "powers": (lambda hp: hp.Int("a", 2, 64, step=2, sampling="log"), INT(0, 5)),
    "float": (lambda hp: hp.Float("a", 0.5, 1.5), FLOAT(0.5, 1.5)),
    "float with a step": (lambda hp: hp.Float("a", 0.1, 0.5, step=0.1), INT(0, 4)),
    "log float": (
        lambda hp: hp.Float("a", 1e-3, 1.0, sampling="log"),
        FLOAT(1e-3, 1.0, log=True),
    ),
    "reversed": (
        lambda hp: hp.Float("a", 0.1, 1.0, sampling="reverse_log"),
        FLOAT(0.0, 1.0),
    ),
    "ordered": (lambda hp: hp.Choice("a", [1, 4, 9]), INT(0, 2)),
    "words": (
        lambda hp: hp.Choice("a", ["x", "y"]),
        optuna.distributions.CategoricalDistribution(["x", "y"]),
    ),
    "flag": (
        lambda hp: hp.Boolean("a"),
        optuna.distributions.CategoricalDistribution([False, True]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_there_and_back(case):
    declare, distribution = CASES[case]
    (hp,) = declared(declare)
    part = Translation(hp, [hp])
    assert part.distribution == distribution
    for place in (0.0, 0.3, 0.99):
        value = hp.prob_to_value(place)
        there = part.to_optuna(value)
        assert distribution._contains(distribution.to_internal_repr(there))
        assert part.from_optuna(there) == pytest.approx(value)
        assert type(part.from_optuna(there)) is type(value)


def test_one_name_under_two_conditions_is_two_parameters():
    def declare(hp):
        hp.Choice("kind", ["a", "b"])
        for kind, high in (("a", 1.0), ("b", 5.0)):
            with hp.conditional_scope("kind", [kind]):
                hp.Float("x", 0.0, high)
        hp.Fixed("c", 3)

    kind, first, second, fixed = translated(declared(declare))
    assert kind.name == "kind"
    assert first.name != second.name
    assert first.name.startswith("x|")
    assert fixed.value == 3
