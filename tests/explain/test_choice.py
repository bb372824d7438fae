import pytest

from keras_ext.explain._choice import SAMPLED_UP_TO, choose


@pytest.mark.parametrize(
    ("players", "method"),
    [(1, "exact"), (12, "exact"), (13, "permutation"), (SAMPLED_UP_TO, "permutation")],
)
def test_all_coalitions_as_long_as_they_are_few(players, method):
    assert choose("auto", players)[0] == method


def test_why_is_said():
    assert "3 players have 8 coalitions" in choose("auto", 3)[1]
    assert choose("kernel", 3) == ("kernel", "it was asked for.")


def test_too_many_players_are_refused_and_a_way_out_is_named():
    players = SAMPLED_UP_TO + 1
    with pytest.raises(ValueError, match=f"`players`.*<= 4096.*{players}.*groups"):
        choose("auto", players)
    assert choose("expected_gradients", players)[0] == "expected_gradients"
