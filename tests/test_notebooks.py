"""The cells of the notebooks run in order, and show pictures, tables and numbers."""

import ast
import contextlib
import io
import json
from pathlib import Path

import matplotlib as mpl
import pytest

from tests.thorough import PAGES

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("examples/*.ipynb"))


def cells_of(notebook):
    """The code of the cells."""
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def shown(code, names):
    """Runs a cell as a notebook does, and returns the value of its last line."""
    body = ast.parse(code).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    assert not any(c.get("outputs") or c.get("execution_count") for c in cells)
    assert len({c["id"] for c in cells}) == len(cells)


@pytest.mark.thorough(PAGES)
def test_the_notebook_of_the_monitor_shows_the_illness_and_the_cure():
    mpl.use("agg")
    (notebook,) = NOTEBOOKS
    names, values, printed = {}, [], io.StringIO()
    with contextlib.redirect_stdout(printed):
        for code in cells_of(notebook):
            values.append(shown(code, names))
    figures = [v for v in values if type(v).__name__ == "Figure"]
    assert len(figures) == 3
    assert all(figure._repr_png_() for figure in figures)
    ill, well = (v._repr_html_() for v in values if isinstance(v, list))
    assert "vanishing" in ill
    assert "Nothing found." in well
    accuracy = names["accuracy"]
    assert accuracy["ReLU"] > 0.75 > 0.2 > accuracy["sigmoids"]
    assert "%" in printed.getvalue()
    # Pictures that pyplot holds would be shown twice.
    assert mpl.pyplot.get_fignums() == []
