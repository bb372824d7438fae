"""Which method "auto" stands for."""

from keras_ext._core._checks import require

# Up to here all coalitions cost no more than random orders that come near.
_EXACT_UP_TO = 12
# Beyond, one row takes more than a million evaluations with a hundred background rows.
SAMPLED_UP_TO = 4096


def choose(method: str, players: int) -> tuple[str, str]:
    """The method, and a sentence why."""
    if method != "auto":
        return method, "it was asked for."
    if players <= _EXACT_UP_TO:
        why = f"{players} players have {2**players} coalitions, few enough for all."
        return "exact", why
    hint = (
        "Pass `groups`, such as those of kx.explain.groups.grid, or a method that "
        'takes gradients, such as "expected_gradients"; those are no Shapley values.'
    )
    rule = f'<= {SAMPLED_UP_TO} for method="auto"'
    require(players <= SAMPLED_UP_TO, "players", players, rule, hint)
    return "permutation", f"{players} players are too many for all coalitions."
