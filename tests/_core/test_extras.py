import json
import sys

import pytest

from keras_ext._core._extras import import_extra


def test_returns_the_module_also_of_a_dotted_name():
    import xml.dom.minidom

    assert import_extra("json", extra="all") is json
    assert import_extra("xml.dom.minidom", extra="all") is xml.dom.minidom


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_a_missing_package_names_the_extra_that_installs_it(module):
    message = (
        r"^This needs no_such_package\. "
        r'Install it with: pip install "keras-ext\[explain\]"$'
    )
    with pytest.raises(ImportError, match=message) as raised:
        import_extra(module, extra="explain")
    assert raised.value.name == "no_such_package"


def test_a_package_that_is_blocked_counts_as_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "json", None)
    with pytest.raises(ImportError, match=r'pip install "keras-ext\[all\]"'):
        import_extra("json", extra="all")


def test_a_broken_package_says_what_it_misses_itself(tmp_path, monkeypatch):
    package = tmp_path / "half_installed"
    package.mkdir()
    (package / "__init__.py").write_text("import its_own_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="its_own_dependency"):
        import_extra("half_installed", extra="all")


def test_a_missing_part_of_a_package_that_is_there_is_named():
    with pytest.raises(ModuleNotFoundError, match="'json.no_such_part'"):
        import_extra("json.no_such_part", extra="all")
