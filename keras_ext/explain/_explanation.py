"""Attributions as a `shap.Explanation`, in the shapes that its plots expect."""

from collections.abc import Sequence

import numpy as np

from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Data, Explanation
from keras_ext.explain._inputs import Inputs
from keras_ext.explain._model_function import ModelFunction
from keras_ext.explain._players import Players
from keras_ext.explain._problem import Attribution, Problem, Rows
from keras_ext.explain._row_outputs import named_by_row


def to_explanation(
    attribution: Attribution,
    rows: Rows,
    players: Players,
    function: ModelFunction,
    x: Data,
    seconds: float,
) -> Explanation:
    """Makes the `shap.Explanation`.

    With one input and no groups everything has the shape of the input, else players
    have one axis. There is an axis of outputs if there are several.
    """
    inputs = function.inputs
    shape = _shape(inputs, players)
    values = _shaped(attribution.values, shape)
    error = attribution.error_std
    base = rows.explained_background.mean(axis=1, dtype="float64")
    found = import_extra("shap", "explain").Explanation(
        values=values,
        base_values=base[:, 0] if base.shape[1] == 1 else base,
        data=player_data(rows.parts, inputs, players).reshape(-1, *shape),
        display_data=_display(x, shape, inputs),
        feature_names=_feature_names(players, len(values), shape),
        output_names=_output_names(function, rows),
        error_std=None if error is None else _shaped(error, shape),
        compute_time=seconds,
    )
    if attribution.gap is not None:
        gap = attribution.gap
        found.gap = gap[:, 0] if gap.shape[1] == 1 else gap
    return _with_own_names(found, function, rows)


def _with_own_names(
    found: Explanation, function: ModelFunction, rows: Rows
) -> Explanation:
    """With the name of the highest output of each row, if that is what is explained."""
    if function.top != 1:
        return found
    names = np.array(function.names, object)
    return named_by_row(found, names[rows.which[:, 0]])


def pairs_explanation(
    values: np.ndarray, rows: Rows, problem: Problem, seconds: float
) -> Explanation:
    """Makes the `shap.Explanation` of `(rows, players, players, k)`."""
    function, players = problem.function, problem.players
    base = rows.explained_background.mean(axis=1, dtype="float64")
    one = values.shape[-1] == 1
    found = import_extra("shap", "explain").Explanation(
        values=values[..., 0] if one else values,
        base_values=base[:, 0] if one else base,
        data=player_data(rows.parts, problem.inputs, players),
        feature_names=players.names,
        output_names=_output_names(function, rows),
        compute_time=seconds,
    )
    return _with_own_names(found, function, rows)


def spread_explanation(
    explanation: Explanation, problem: Problem, x: Data
) -> Explanation:
    """Brings an explanation to the shape of the input or inputs."""
    inputs, players = problem.inputs, problem.players
    values = np.asarray(explanation.values)
    flat = values.reshape(len(values), players.count, -1)
    extra = values.shape[-1:] if flat.shape[2] > 1 else ()
    kind = import_extra("shap", "explain").Explanation
    by_row = getattr(explanation, "of_rows", None)
    spread = inputs.split(players.spread(flat))
    found = {}
    for name, shape, part, own in zip(
        inputs.names, inputs.shapes, spread, inputs.parts(x), strict=True
    ):
        found[name] = kind(
            part.reshape(len(part), *shape, *extra),
            base_values=explanation.base_values,
            data=own.reshape(len(part), *shape),
            output_names=explanation.output_names if by_row is None else None,
            compute_time=explanation.compute_time,
        )
        if by_row is not None:
            found[name] = named_by_row(found[name], by_row)
    return found[inputs.names[0]] if inputs.is_single else found


def player_data(
    parts: Sequence[np.ndarray], inputs: Inputs, players: Players
) -> np.ndarray:
    """What the players are in each row: the element, or the mean of a group."""
    numeric = all(part.dtype.kind in "biuf" for part in parts)
    elements = np.concatenate(
        [part.astype("float64" if numeric else object) for part in parts], axis=1
    )
    if players.are_elements:
        return elements
    if not numeric:  # the mean of words is none
        return np.full((len(elements), players.count), np.nan)
    sizes = np.bincount(players.of_element, minlength=players.count)
    return players.total(elements) / sizes


def _shape(inputs: Inputs, players: Players) -> tuple[int, ...]:
    """The shape of what belongs to one row."""
    if players.are_elements and inputs.is_single:
        # What has no axes is drawn as the only feature.
        return tuple(inputs.shapes[0]) or (1,)
    return (players.count,)


def _shaped(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`(rows, players, k)` in the shape of the input, without an axis of one output."""
    shaped = values.reshape(len(values), *shape, values.shape[-1])
    return shaped[..., 0] if values.shape[-1] == 1 else shaped


def _feature_names(
    players: Players, rows: int, shape: tuple[int, ...]
) -> list[str] | np.ndarray | None:
    """One for each player; of several axes those of the last, if they have names."""
    if len(shape) == 1:
        return players.names
    if players.last_axis is None:
        return None
    # In the shape of the values, so that slices of these have slices of the names.
    return np.broadcast_to(np.array(players.last_axis, object), (rows, *shape))


def _display(x: Data, shape: tuple[int, ...], inputs: Inputs) -> np.ndarray | None:
    """The rows as they were given, where a plot can show them so."""
    is_frame = hasattr(x, "columns")
    shown = is_frame and (len(x.columns),) == shape
    return inputs.frame_rows(x) if shown else None


def _output_names(function: ModelFunction, rows: Rows) -> list[str] | np.ndarray | None:
    if function.num_outputs == 1:
        return None
    if function.top is None:
        return list(function.names)
    return np.array(function.names)[rows.which]
