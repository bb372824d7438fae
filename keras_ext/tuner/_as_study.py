"""A search as a study of Optuna: for its dashboard, and for what it can measure."""

import importlib
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna

from keras_ext._core._checks import require
from keras_ext.tuner._objectives import parts_of
from keras_ext.tuner._optuna_space import Translation, params_of, translated
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._records import Record, in_order, records_of

_FEWEST = 4  # trials, of fewer of which nothing can be said


def study_of(
    oracle: Oracle,
    *,
    storage: str | os.PathLike[str] | optuna.storages.BaseStorage | None = None,
    name: str = "search",
) -> optuna.Study:
    """The trials of an oracle as a study, with their curves.

    Args:
        oracle: An `Oracle`.
        storage: The path of a journal, the URL of a database, a storage of Optuna, or
            None for a study in memory. A study of this name is replaced.
        name: The name of the study. Defaults to `"search"`.
    """
    require(isinstance(name, str) and name != "", "name", name, "a text")
    store = _storage(storage)
    if store is not None:
        known = optuna.get_all_study_names(store)
        if name in known:
            optuna.delete_study(study_name=name, storage=store)
    study = _new_study(oracle, store, name)
    for record in in_order(records_of(oracle)):
        if record.status != "running":
            study.add_trial(_frozen(oracle, record))
    return study


def _storage(given: Any) -> str | optuna.storages.BaseStorage | None:
    is_text = isinstance(given, str | os.PathLike) and str(given) != ""
    valid = given is None or is_text or isinstance(given, optuna.storages.BaseStorage)
    expected = "a path, the URL of a database, a storage of Optuna, or None"
    require(valid, "storage", given, expected)
    if not is_text or "://" in str(given):
        return given
    module = importlib.import_module("optuna.storages.journal")
    backend = module.JournalFileBackend(os.fspath(given))
    return optuna.storages.JournalStorage(backend)


def _new_study(
    oracle: Oracle,
    storage: str | optuna.storages.BaseStorage | None = None,
    name: str | None = None,
) -> optuna.Study:
    parts = parts_of(oracle.objective)
    directions: Any = [f"{o.direction}imize" for o in parts]
    verbosity = optuna.logging.get_verbosity()
    # `create_study` tells of each study that it makes.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, directions=directions
        )
        if len(parts) > 1:
            with warnings.catch_warnings():
                category = optuna.exceptions.ExperimentalWarning
                warnings.simplefilter("ignore", category)
                study.set_metric_names([o.name for o in parts])
    finally:
        optuna.logging.set_verbosity(verbosity)
    return study


def _frozen(oracle: Oracle, record: Record) -> optuna.trial.FrozenTrial:
    kinds = optuna.trial.TrialState
    params, distributions = params_of(oracle.hyperparameters.space, record.values)
    values = _values(oracle, record)
    is_single = len(parts_of(oracle.objective)) == 1
    # Optuna knows pruning, and curves, of a single objective alone.
    ended = kinds.PRUNED if record.status == "stopped" and is_single else kinds.COMPLETE
    known = {"trial": record.trial, "reason": record.reason}
    return optuna.trial.create_trial(
        state=ended if values else kinds.FAIL,
        values=values,
        params=params,
        distributions=distributions,
        intermediate_values=dict(record.curve) if is_single else {},
        user_attrs={n: text for n, text in known.items() if text},
    )


def _values(oracle: Oracle, record: Record) -> list[float] | None:
    if record.score is None:
        return None
    parts = parts_of(oracle.objective)
    if len(parts) == 1:
        return [record.score]
    return [record.objectives[o.name] for o in parts]


def importances_of(oracle: Oracle) -> Mapping[str, dict[str, float]]:
    """Of each objective, which share of its variance each hyperparameter explains.

    By fANOVA, or where scikit-learn is not installed by PED-ANOVA. What is not active
    in a trial counts with its default. An objective of which nothing can be said, of
    few trials or all with one score, is left out.
    """
    scored = [r for r in records_of(oracle) if r.score is not None]
    found = {}
    study = _filled_study(oracle, scored)
    for i, objective in enumerate(parts_of(oracle.objective)):
        values = {trial.values[i] for trial in study.trials}
        if len(scored) >= _FEWEST and len(values) > 1 and study.trials[0].params:
            measured = optuna.importance.get_param_importances(
                study, evaluator=_evaluator(), target=_value_number(i)
            )
            found[objective.name or "score"] = dict(measured)
    return found


def _filled_study(oracle: Oracle, records: list[Record]) -> optuna.Study:
    study = _new_study(oracle)
    parts = translated(oracle.hyperparameters.space)
    parts = [part for part in parts if isinstance(part, Translation)]
    parts = [part for part in parts if not part.name.startswith("tuner/")]
    for record in records:
        known, _ = params_of(oracle.hyperparameters.space, record.values)
        # Optuna measures only those hyperparameters that all trials have.
        params = {p.name: known.get(p.name, p.to_optuna(p.hp.default)) for p in parts}
        study.add_trial(
            optuna.trial.create_trial(
                values=_values(oracle, record),
                params=params,
                distributions={part.name: part.distribution for part in parts},
            )
        )
    return study


def _value_number(i: int) -> Callable[[optuna.trial.FrozenTrial], float]:
    return lambda trial: float(trial.values[i])


def _evaluator() -> optuna.importance.BaseImportanceEvaluator:
    try:
        return optuna.importance.FanovaImportanceEvaluator(seed=0)
    except ImportError:  # it needs scikit-learn
        return optuna.importance.PedAnovaImportanceEvaluator()
