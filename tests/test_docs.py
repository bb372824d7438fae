"""The code of every page runs, and the reference has every public name."""

import inspect
import operator
import re
from pathlib import Path

import keras
import pytest
import tensorflow as tf

import keras_ext
from tests import thorough

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "pages"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


# Those that take more than five seconds of one core.
LONG = {
    "adaptive_dropout",
    "adaptive_regularization",
    "compression",
    "dropout_layers",
    "dynamic_batch_size",
    "explain",
    "gradient_monitor",
    "gradient_norm_early_stopping",
    "gradient_pipeline",
    "index",
    "schedules",
    "search",
}


def pages_with_code():
    pages = [ROOT / "README.md", *sorted(PAGES.rglob("*.md"))]
    pages = [page for page in pages if BLOCK.search(page.read_text())]
    long = {page for page in pages if page.stem in LONG}
    assert len(long) == len(LONG)
    return thorough.thorough_but(set(pages) - long, pages, thorough.PAGES)


@pytest.mark.parametrize("page", pages_with_code(), ids=lambda page: page.stem)
def test_blocks_of_a_page_run_in_order(page, strategies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Two of them in one process would mix up the keys of their collectives.
    two_replicas = strategies(2)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda _: two_replicas)
    text = page.read_text()
    namespace = {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        # The lines keep their numbers, so that a traceback points into the page.
        above = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(above + block[1], str(page), "exec"), namespace)


NAMES = re.compile(r"`(keras|kx|keras_ext)((?:\.\w+)+)`")


@pytest.mark.parametrize("page", sorted(PAGES.rglob("*.md")), ids=lambda p: p.stem)
def test_names_on_a_page_are_there(page):
    roots = {"keras": keras, "kx": keras_ext, "keras_ext": keras_ext}
    missing = []
    for root, path in NAMES.findall(page.read_text()):
        try:
            operator.attrgetter(path[1:])(roots[root])
        except AttributeError:
            missing.append(root + path)
    assert missing == []


def public_names(module):
    for name in module.__all__:
        member = getattr(module, name)
        if inspect.ismodule(member):
            yield from public_names(member)
        else:
            yield f"{module.__name__}.{name}"


def public_families():
    """The names of each family; those of the top are a family of their own."""
    found = {"keras_ext": []}
    for name in keras_ext.__all__:
        member = getattr(keras_ext, name)
        if inspect.ismodule(member):
            found[name] = list(public_names(member))
        else:
            found["keras_ext"].append(f"keras_ext.{name}")
    return found


def test_every_family_has_a_page_of_reference():
    pages = {page.stem for page in (PAGES / "api").glob("*.md")}
    assert pages == set(public_families())


@pytest.mark.parametrize("family", public_families())
def test_reference_has_exactly_the_public_names(family):
    page = (PAGES / "api" / f"{family}.md").read_text()
    shown = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(public_families()[family])


def test_every_public_name_is_in_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    names = [name for family in public_families().values() for name in family]
    assert [name for name in names if f"`{name}`" not in changelog] == []
