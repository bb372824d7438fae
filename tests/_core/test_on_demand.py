"""Names become modules."""

import sys

import pytest

import keras_ext as kx
from keras_ext._core._on_demand import on_demand


def test_classes_are_found_in_the_modules_named_after_them():
    # Of a package that is there anyway.
    find = on_demand(
        "keras_ext.gradients.clip", ["AutoClip", "AdaptiveClip"], extra="all"
    )
    assert find("AutoClip").__name__ == "AutoClip"
    assert find("AdaptiveClip").__module__.endswith("._adaptive_clip")
    with pytest.raises(AttributeError, match="has no attribute 'NoClip'"):
        find("NoClip")


def test_without_the_package_the_error_has_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "keras_ext.tuner._optuna_oracle", raising=False)
    with pytest.raises(ImportError, match=r"OptunaOracle` needs optuna.*ext\[tuner\]"):
        kx.tuner.OptunaOracle  # noqa: B018


def test_capitals_stay_together():
    assert kx.tuner.ASHA.__module__ == "keras_ext.tuner._asha"
    assert kx.tuner.BayesianOptimization.__module__.endswith("_bayesian_optimization")
