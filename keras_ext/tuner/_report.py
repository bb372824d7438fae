"""A search as a page that a person wants to read."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import keras_tuner
import numpy as np
from keras_tuner import Objective
from keras_tuner.engine import hyperparameters as kinds

from keras_ext._core._checks import integer, require
from keras_ext._core._figures import draw_bars
from keras_ext._core._pages import picture, require_page, section, table, write_page
from keras_ext._core._typing import Figure
from keras_ext.tuner import _report_figures as figures
from keras_ext.tuner._as_study import importances_of
from keras_ext.tuner._objectives import parts_of
from keras_ext.tuner._oracle import Oracle
from keras_ext.tuner._records import Record, longest, records_of


def write_report(
    tuner: keras_tuner.Tuner,
    path: str | Path,
    *,
    title: str,
    max_trials: int,
) -> None:
    """Writes the page of `Tuner.report`."""
    require_page(path, title)
    max_trials = integer(max_trials, "max_trials", low=1)
    oracle = tuner.oracle
    records = records_of(oracle)
    best = _best_of(records, "report")
    importances = importances_of(oracle)
    parts = [_best(best, oracle.objective)]
    parts += _front(oracle, records)
    parts += _curves(tuner, records)
    parts += _importances(importances)
    parts += _values(oracle, records, importances)
    parts += [_table(records, oracle, max_trials)]
    write_page(
        path,
        title=title,
        facts=_facts(tuner, records),
        sections=parts,
        footer=f"{escape(type(tuner).__name__)} of keras_ext. Epochs count from 1.",
    )


def draw(tuner: keras_tuner.Tuner) -> Figure:
    """Returns the figure of `Tuner.plot`: the first of the report that there is."""
    oracle = tuner.oracle
    records = records_of(oracle)
    _best_of(records, "plot")
    parts = parts_of(oracle.objective)
    if len(parts) > 1:
        front = [trial.trial_id for trial in oracle.pareto_trials()]
        return figures.draw_front(records, front, parts)
    if longest(records, tuner) > 1:
        return figures.draw_curves(records, oracle.objective)
    return figures.draw_progress(records, oracle.objective, "trials")


def _best_of(records: Sequence[Record], caller: str) -> Record:
    """The first that has a score.

    Raises:
        ValueError: If there is none.
    """
    scored = [record for record in records if record.score is not None]
    require(len(scored) > 0, caller, len(scored), "called when a trial has completed")
    return scored[0]


def _facts(tuner: keras_tuner.Tuner, records: list[Record]) -> Iterator[str]:
    counts = {
        kind: sum(record.status == kind for record in records)
        for kind in ("completed", "stopped", "failed", "running")
    }
    told = ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)
    yield f"{len(records)} trials: {told}"
    yield saved_epochs(records, tuner)
    yield f"{_duration(tuner.oracle.seconds())}"
    yield f"{type(tuner.oracle).__name__}, seed {tuner.oracle.seed}"


def saved_epochs(records: list[Record], tuner: keras_tuner.Tuner) -> str:
    """How many epochs were trained, and how many would have been without stopping."""
    trained = sum(record.epochs for record in records)
    most = longest(records, tuner)
    if most <= 1:
        return f"{trained} evaluations"
    without = most * sum(record.epochs > 0 for record in records)
    text = f"{trained} epochs trained"
    if without > trained:
        text += f" of {without}, {1 - trained / without:.0%} saved"
    return text


def _best(best: Record, objective: Objective) -> str:
    names = [o.name or "score" for o in parts_of(objective)]
    values: Mapping[str, float | None] = best.objectives or {names[0]: best.score}
    told = ", ".join(f"{name} {value:.5g}" for name, value in values.items())
    told += f" at epoch {best.best_epoch} of {best.epochs}" if best.epochs > 1 else ""
    shown = _own(best.values)
    content = f"<p>Trial {escape(best.trial)}: <b>{escape(told)}</b></p>"
    content += table(
        ["hyperparameter", "value"], list(shown), [[v] for v in shown.values()]
    )
    code = (
        "hp = tuner.get_best_hyperparameters()[0]\nmodel = tuner.hypermodel.build(hp)"
    )
    return section("The best", f"{content}<pre>{code}</pre>")


def _own(values: Mapping[str, object]) -> dict[str, str]:
    """The hyperparameters as texts, without what tuners add for themselves."""
    return {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
        if not name.startswith("tuner/")
    }


def _front(oracle: Oracle, records: list[Record]) -> Iterator[str]:
    parts = parts_of(oracle.objective)
    names = [objective.name for objective in parts]
    if len(names) < 2:
        return
    front = [trial.trial_id for trial in oracle.pareto_trials()]
    shown = [r for r in records if r.trial in front]
    drawn = picture(figures.draw_front(records, front, parts), "Pareto front")
    text = "<p>Of these trials, none is beaten in all objectives at once.</p>"
    rows = [[f"{r.objectives[name]:.5g}" for name in names] for r in shown]
    labels = [r.trial for r in shown]
    yield section("Pareto front", text + drawn + table(["trial", *names], labels, rows))


def _curves(tuner: keras_tuner.Tuner, records: list[Record]) -> Iterator[str]:
    objective = tuner.oracle.objective
    if len(parts_of(objective)) > 1:
        return
    has_epochs = longest(records, tuner) > 1
    if has_epochs:
        drawn = figures.draw_curves(records, objective)
        text = (
            f"<p>{saved_epochs(records, tuner)}. The best trial is orange; a dot ends "
            "one that was stopped, a cross one that has failed.</p>"
        )
        yield section("Learning curves", text + picture(drawn, "learning curves"))
    unit = "epochs trained, all trials together" if has_epochs else "trials"
    drawn = figures.draw_progress(records, objective, unit)
    yield section("The best so far", picture(drawn, "best score so far"))


def _importances(importances: Mapping[str, dict[str, float]]) -> Iterator[str]:
    if not importances:
        return
    content = (
        "<p>Which share of the variance of the score each hyperparameter explains "
        "(fANOVA). What is not active in a trial counts with its default.</p>"
    )
    for name, shares in importances.items():
        content += f"<h3>{escape(name)}</h3>" if len(importances) > 1 else ""
        lengths = np.asarray(list(shares.values()))
        drawn = draw_bars(list(shares), lengths, label="share", extra="tuner")
        content += picture(drawn, f"importances for {name}")
    yield section("What matters", content)


def _values(
    oracle: Oracle, records: list[Record], importances: Mapping[str, dict[str, float]]
) -> Iterator[str]:
    """What was tried where, the most important hyperparameters first."""
    objective = parts_of(oracle.objective)[0]
    if len(parts_of(oracle.objective)) > 1:
        records = [_of_one(record, objective.name) for record in records]
    space = _space(oracle, records, next(iter(importances.values()), {}))
    if not space or sum(record.score is not None for record in records) < 2:
        return
    slices = figures.draw_slices(records, space, objective)
    name = objective.name or "score"
    yield section(f"Where {name} is good", picture(slices, "score by hyperparameter"))
    drawn = figures.draw_parallel(records, space, objective)
    text = "<p>A line is a trial, from yellow (bad) to dark (good), best orange.</p>"
    yield section("All values", text + picture(drawn, "parallel coordinates"))


def _of_one(record: Record, name: str) -> Record:
    """The record with one of several objectives as its score."""
    score = None if record.score is None else record.objectives[name]
    return Record(**{**vars(record), "score": score})


def _space(
    oracle: Oracle, records: Sequence[Record], shares: Mapping[str, float]
) -> dict[str, kinds.HyperParameter]:
    """The hyperparameters that have varied."""
    found: dict[str, kinds.HyperParameter] = {}
    for hp in oracle.hyperparameters.space:
        seen = {str(record.values.get(hp.name)) for record in records}
        is_own = not hp.name.startswith("tuner/")
        if is_own and len(seen) > 1 and type(hp).__name__ != "Fixed":
            found.setdefault(hp.name, hp)
    return dict(sorted(found.items(), key=lambda item: -shares.get(item[0], 0.0)))


def _table(records: list[Record], oracle: Oracle, max_trials: int) -> str:
    shown = records[:max_trials]
    names = [o.name or "score" for o in parts_of(oracle.objective)]
    columns = list(dict.fromkeys(n for r in shown for n in _own(r.values)))
    heads = ["trial", *names, "epochs", "seconds", "status", *columns]
    rows = []
    for r in shown:
        scores: Mapping[str, float | None] = r.objectives or {names[0]: r.score}
        cells = [scores.get(name) if r.score is not None else None for name in names]
        own = _own(r.values)
        rows.append(
            [*("" if c is None else f"{c:.5g}" for c in cells), str(r.epochs)]
            + ["" if r.seconds is None else f"{r.seconds:.3g}", r.status]
            + [own.get(name, "") for name in columns]
        )
    content = table(heads, [record.trial for record in shown], rows)
    if len(shown) < len(records):
        content += f"<p>{len(records) - len(shown)} more are not shown.</p>"
    failed = [record for record in shown if record.status == "failed"]
    if failed:
        reasons = [[record.reason] for record in failed]
        content += "<h3>Why trials have failed</h3>"
        content += table(["trial", "reason"], [r.trial for r in failed], reasons)
    return section("All trials", content)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
