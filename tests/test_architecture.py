"""What holds the house together, read from the syntax trees of its files."""

import ast
import inspect
import re
from pathlib import Path

import keras
import pytest

import keras_ext as kx
from keras_ext import callbacks
from keras_ext.tuner._cost import MeasuredCosts

PACKAGE = Path(kx.__file__).parent
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}


# Private names of Keras and TensorFlow, by the file that touches them. Each may change
# with any release: a new one is a decision, and gets a test that fails when it does.
PRIVATE_NAMES = {
    "_keras/_data_adapter.py": {"keras.src.trainers"},
    "_keras/_distiller.py": {
        "_compile_metrics",
        "_student_feature_extractor",
        "_student_loss",
        "_user_metrics",
    },
    "_keras/_dropout_internals.py": {
        "_create_dropout_mask",
        "_dropout",
        "_dropout_layer",
    },
    "_keras/_frozen_weights.py": {"_trainable_variables"},
    "_keras/_functional.py": {"Functional"},
    "_keras/_learning_rate.py": {"_get_current_learning_rate", "_learning_rate"},
    "_keras/_loss_weights.py": {
        "_compile_config",
        "_compile_loss",
        "_flat_losses",
        "_fn_kwargs",
        "_user_loss_weights",
    },
    "_keras/_masks.py": {"_keras_mask"},
    "_keras/_saved_along.py": {"keras.src.saving.keras_saveable"},
    "_keras/_optimizer_slots.py": {
        "_distribution_strategy",
        "_get_variable_index",
        "_iterations",
        "_trainable_variables",
        "_use_weight_decay",
        "_velocities",
        "_velocity_hats",
    },
    "_keras/_reduction.py": {"_all_reduce_sum_gradients"},
    "_keras/_symbolic_build.py": {
        "_maybe_symbolic_build",
        "keras.src.backend.tensorflow",
        "reduce_per_replica",
    },
    "_keras/_weight_averages.py": {
        "_model_variables_moving_average",
        "_trainable_variables",
    },
    "_keras/_tensorflow.py": {
        "_registry",
        "tensorflow.python.eager.backprop",
        "tensorflow.python.eager.execute",
        "tensorflow.python.framework.ops",
    },
    "_keras/_whole_update.py": {"_all_reduce_sum_gradients", "_get_variable_index"},
    "tuner/_bayesian_optimization.py": {
        "_duplicate",
        "_nonfixed_space",
        "_random_populate_space",
    },
    "tuner/_building_tuner.py": {"_get_build_config_fname", "_get_checkpoint_fname"},
    "tuner/_evolution.py": {"_duplicate", "_max_collisions"},
    "tuner/_gaussian_process_oracle.py": {"_duplicate"},
    "tuner/_hyperband.py": {"_get_build_config_fname", "_get_checkpoint_fname"},
    "tuner/_optuna_oracle.py": {"_duplicate"},
    "tuner/_oracle.py": {"_check_objective_found", "_duplicate", "_max_collisions"},
    "tuner/_population_based_training.py": {
        "_deepcopy_callbacks",
        "_get_build_config_fname",
        "_get_checkpoint_fname",
    },
    "tuner/_queued_oracle.py": {"_duplicate"},
    "tuner/_stored_oracle.py": {"_get_oracle_fname", "_get_trial_dir", "_project_dir"},
    "tuner/_tuner.py": {
        "_deepcopy_callbacks",
        "_get_build_config_fname",
        "_get_checkpoint_fname",
        "_get_tuner_fname",
    },
    "tuner/spaces/_asked.py": {"_conditions", "_get_name"},
}
# What no rule can tell from an ordinary name.
NOT_UNDERSCORED = {"Functional", "reduce_per_replica"}
# Private by spelling alone: of namedtuples, of `os`, of IPython, and what is put on
# objects here.
PUBLIC = {"_replace", "_asdict", "_exit", "_repr_png_"}
ON_MODELS = (
    "along",
    "chains",
    "hung",
    "memory",
    "replaced",
    "rollbacks",
    "run",
    "runs",
    "scope",
)
PUBLIC |= {f"_keras_ext_{name}" for name in (*ON_MODELS, "tracked")}
# Methods of texts, whose arguments are no names.
OF_TEXTS = {"endswith", "lstrip", "partition", "removesuffix", "replace", "strip"}


def test_private_names_of_keras_and_tensorflow():
    own = {name for tree in TREES.values() for name in defined_names(tree)} | PUBLIC
    found = {file: foreign_names(tree, own) for file, tree in TREES.items()}
    assert {file: names for file, names in found.items() if names} == PRIVATE_NAMES
    # Of KerasTuner, by its subclasses: another package, and another wing.
    assert {file.split("/")[0] for file in PRIVATE_NAMES} == {"_keras", "tuner"}


@pytest.mark.parametrize(
    "code",
    [
        "model._flat_layers",
        "getattr(model, '_flat_layers')",
        "NAMES = ('_flat_layers', '_losses')",
        "import keras.src.layers",
        "from tensorflow.python.eager import backprop",
        "importlib.import_module('keras.src.layers')",
        "def late():\n    from keras.src import layers",
    ],
)
def test_private_names_are_seen(code):
    assert foreign_names(ast.parse(code), own={"_of_ours"})
    harmless = code.replace("_flat_layers", "_of_ours").replace("_losses", "losses")
    harmless = harmless.replace("keras.src", "keras").replace(".python.", ".")
    assert not foreign_names(ast.parse(harmless), own={"_of_ours"})


def defined_names(tree):
    """The names that classes here define: methods, fields, attributes of `self`."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for node in [item for c in classes for item in ast.walk(c)]:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if getattr(node.value, "id", None) in ("self", "copied"):
                yield node.attr
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def foreign_names(tree, own):
    found = set(filter(is_private_module, imported_modules(tree)))
    found = {n for n in found if not any(n != m and n.startswith(m) for m in found)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if is_private(node.attr) and node.attr not in own:
                found.add(node.attr)
        else:
            texts = map(text_of, given_to_calls_and_constants(node))
            found |= {text for text in texts if is_foreign(text, own)}
    return found - {"_"}


def is_foreign(text, own):
    if text in NOT_UNDERSCORED or is_private_module(text):
        return True
    return text.isidentifier() and is_private(text) and text not in own


def given_to_calls_and_constants(node):
    if isinstance(node, ast.Compare):
        yield from node.comparators
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") not in OF_TEXTS:
        yield from node.args
    elif isinstance(node, ast.Assign):
        yield from getattr(node.value, "elts", [node.value])


def text_of(node):
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if is_text else ""


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def is_private_module(name):
    return bool(re.match(r"(keras\.src|keras\._|tensorflow\.python)[\w.]*$", name))


# Who may import whom. The private rooms first: each sees those to its left.
ROOMS = ("_core", "_keras", "_anatomy", "_live", "_fit", "_engine")
UP_TO = {room: set(ROOMS[: i + 1]) for i, room in enumerate(ROOMS)}
SHELVES = {
    "layers": UP_TO["_live"],
    "regularizers": UP_TO["_live"],
    "controllers": UP_TO["_core"],
    "schedules": UP_TO["_core"],
    "data": UP_TO["_keras"],
    "distribute": UP_TO["_keras"] | {"data"},
    "gradients": UP_TO["_engine"],
    "signals": UP_TO["_engine"],
    "optimizers": UP_TO["_engine"] | {"gradients"},
    "training": UP_TO["_engine"],
}
EVERYTHING = UP_TO["_engine"] | set(SHELVES)
MAY_IMPORT = {
    **{room: UP_TO[room] - {room} for room in ROOMS},
    **SHELVES,
    "diagnostics": EVERYTHING,
    "uncertainty": EVERYTHING,
    "callbacks": EVERYTHING | {"diagnostics"},
    # Wings: they may see all, and nobody sees them.
    "explain": EVERYTHING | {"callbacks", "diagnostics", "uncertainty"},
    "tuner": EVERYTHING | {"callbacks", "diagnostics", "uncertainty"},
    "compression": EVERYTHING | {"callbacks", "diagnostics"},
}


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def families_seen(tree):
    for name in imported_modules(tree):
        parts = name.split(".")
        if parts[0] == "keras_ext" and len(parts) > 1 and parts[1] in MAY_IMPORT:
            yield parts[1]


@pytest.mark.parametrize("family", MAY_IMPORT)
def test_families_import_only_from_further_down(family):
    files = [file for file in TREES if file.split("/")[0] == family]
    assert files
    seen = {(file, other) for file in files for other in families_seen(TREES[file])}
    beyond = MAY_IMPORT[family] | {family}
    assert sorted(pair for pair in seen if pair[1] not in beyond) == []


def test_the_table_has_every_family_and_no_circle():
    families = {file.split("/")[0] for file in TREES if "/" in file}
    assert families == set(MAY_IMPORT)
    done = set()
    while ready := {
        f for f, seen in MAY_IMPORT.items() if f not in done and seen <= done
    }:
        done |= ready
    assert done == set(MAY_IMPORT)


def test_no_file_imports_itself_through_others():
    known = {module_name(file): file for file in TREES if not file.endswith("__.py")}
    seen = {
        file: {known[m] for m in imported_modules(tree) if m in known} - {file}
        for file, tree in TREES.items()
    }
    assert circles(seen) == []


def module_name(file):
    return "keras_ext." + file.removesuffix(".py").replace("/", ".")


def circles(seen):
    """The sets of files that see one another."""

    def reached(start):
        found, waiting = set(), [start]
        while waiting:
            for file in seen[waiting.pop()] - found:
                found.add(file)
                waiting.append(file)
        return found

    reach = {file: reached(file) for file in seen}
    groups = {
        frozenset(other for other in reach[file] if file in reach[other])
        for file in seen
        if file in reach[file]
    }
    return [set(group) for group in sorted(groups, key=sorted)]


# Names and bases alone, in which nothing runs.
UNTESTED = {
    "_core/_typing.py",
    "callbacks/regularization/_rules/_regularization_rule.py",
}


def test_every_module_has_its_test_file_at_the_same_path():
    folder = Path(__file__).parent
    missing = [
        file
        for file in TREES
        if not file.endswith("__.py")
        and not (folder / file).with_name(_test_of(Path(file).name)).is_file()
    ]
    assert set(missing) == UNTESTED


def _test_of(name):
    return f"test_{name.removeprefix('_')}"


HEAVY = {"IPython", "keras_tuner", "matplotlib", "optuna", "pandas", "pyarrow", "ray"}
HEAVY |= {
    "rich",
    "scipy",
    "shap",
    "sklearn",
    "tensorboard",
    "tensorflow_model_optimization",
}


def test_heavy_packages_are_imported_where_they_are_needed():
    """None when a module is imported: `import keras_ext` brings in nothing.

    The modules of the tuner derive from KerasTuner: they are imported on demand.
    """
    imported = {
        (file, name.split(".")[0])
        for file, tree in TREES.items()
        if not file.startswith("tuner/_") or file.endswith("/__init__.py")
        for node in run_on_import(tree)
        for name in imported_modules(node)
    }
    assert sorted(pair for pair in imported if pair[1] in HEAVY) == []


def run_on_import(node):
    """The statements of a module that run when it is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not (
            isinstance(child, ast.FunctionDef | ast.Lambda) or is_for_types(child)
        ):
            yield from run_on_import(child)


def is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@pytest.mark.parametrize("where", ["try:\n    {}\nfinally:\n    pass", "if x:\n    {}"])
def test_imports_are_seen_wherever_they_run(where):
    on_import = ast.parse(where.format("import shap"))
    late = ast.parse("def late():\n    import shap\nif TYPE_CHECKING:\n    import shap")
    assert [n.names[0].name for n in run_on_import(on_import)] == ["shap"]
    assert not list(run_on_import(late))


# What callbacks write into the logs, which History, CSVLogger, TensorBoard and the
# progress bar show: by name, who writes it. Names are for ever.
LOCAL = {"ElasticAveraging", "LocalSGD", "PostLocalSGD"}
LOG_NAMES = {
    "<path>": {"AdaptiveRegularization", "HyperparameterScheduler"},
    "averaged_models": {"StochasticWeightAveraging"},
    "batch_size": {"BatchSizeFinder", "DynamicBatchSize"},
    "clip_threshold": {"LayerwiseAdaptiveClipping"},
    "clipped_fraction": {"LayerwiseAdaptiveClipping"},
    "dead_fraction": {"GradientMonitor"},
    "dropout_rate": {"AdaptiveDropout"},
    "error_rise": {"Prune"},
    "frozen_fraction": {"GradualUnfreezing", "FreezeConverged"},
    "generalization_loss": {"PrecheltEarlyStopping"},
    "gradient_evidence": {"EvidenceBasedEarlyStopping"},
    "mean_gradient_norm": {"GradientNormEarlyStopping"},
    "gradient_confusion": {"GradientMonitor"},
    "gradient_cosine": {"GradientMonitor"},
    "gradient_disparity": {"GradientDisparityEarlyStopping"},
    "gradient_diversity": {"GradientMonitor"},
    "gradient_gsnr": {"GradientMonitor"},
    "gradient_noise_scale": {"DynamicBatchSize", "GradientMonitor"},
    "gradient_norm": {"GradientMonitor"},
    "gradient_snr": {"GradientMonitor"},
    "improvement_probability": {"LearningCurveEarlyStopping"},
    "importance_<name>": {"ExplainDuringTraining"},
    "label_changes": {"LabelWaveEarlyStopping"},
    "learning_rate": {"LearningRateFinder", "OneCycle"},
    "learning_rate_gain": {"DynamicBatchSize"},
    "learning_rate_multiplier": {
        "BanditLearningRate",
        "HypergradientLearningRate",
        "LearningRateMultiplier",
        "ReinforcedLearningRate",
    },
    "momentum": {"MomentumSchedule", "OneCycle"},
    "nonfinite_steps": {
        "DynamicBatchSize",
        "EvidenceBasedEarlyStopping",
        "GradientCallback",
        "GradientMonitor",
        "GradientNormEarlyStopping",
        "GradualUnfreezing",
        "HypergradientLearningRate",
        "LayerwiseAdaptiveClipping",
        "LayerwiseDecay",
        "FreezeConverged",
        *LOCAL,
    },
    "overfit_gap": {"AdaptiveDropout", "AdaptiveRegularization"},
    "progress_quotient": {"PrecheltEarlyStopping"},
    "regularization_strength": {"AdaptiveRegularization"},
    "sharpness": {"SharpnessAware"},
    "snapshots": {"SnapshotEnsemble"},
    "sparsity": {"KeepZeros", "Prune", "RigL"},
    "stop_votes": {"StopWhen"},
    "strips_up": {"PrecheltEarlyStopping"},
    "sync_every": {"PostLocalSGD"},
    "synchronizations": LOCAL,
    "update_ratio": {"GradientMonitor"},
    "vanishing_ratio": {"GradientMonitor"},
    "variance_ratio": {"DropoutBatchNormBalance"},
}
MONITOR, PRECHELT = (
    callbacks.gradients._gradient_monitor,
    callbacks.stopping._prechelt_early_stopping,
)
COSTS = {"bytes", "flops", "latency", "latency_spread", "parameters"}
LOG_NAMES |= dict.fromkeys(COSTS, {"MeasuredCosts"})
# Keys that no literal in `logs[...]` or `logs.update(...)` tells: by the expression.
COMPUTED = {
    "self._found": COSTS,
    "self._last_row()": {*MONITOR._LOGGED, *MONITOR._LOGGED_MOMENTS},
    "self._logged()": {"importance_<name>"},
    "self.criterion": {name for name, _ in PRECHELT._RULES.values()},
    # The paths of hyperparameters.
    "values": {"<path>"},
    "{p: float(hyper) for p, (hyper, _) in self._driven.items()}": {"<path>"},
}
CALLBACKS = {
    name: unit
    for family in (
        kx.callbacks,
        kx.compression,
        kx.distribute,
        kx.explain,
        kx.training,
    )
    for name in family.__all__
    if inspect.isclass(unit := getattr(family, name))
    and issubclass(unit, keras.callbacks.Callback)
}
CALLBACKS["MeasuredCosts"] = MeasuredCosts


def test_log_names_stand_in_one_list():
    found = {}
    for name, callback in CALLBACKS.items():
        for key in logged_by(callback):
            found.setdefault(key, set()).add(name)
    assert found == LOG_NAMES


@pytest.mark.parametrize("name", sorted(set().union(*LOG_NAMES.values())))
def test_docstrings_say_what_is_logged(name):
    """In a paragraph that begins so: "Logs `name`"."""
    doc = inspect.getdoc(CALLBACKS[name])
    said = " ".join(re.findall(r"^Logs .*?(?=\n\n|\Z)", doc, re.DOTALL | re.MULTILINE))
    for key in (k for k, names in LOG_NAMES.items() if name in names):
        assert (" path" if key == "<path>" else f"`{key}`") in said


def test_nothing_else_writes_logs():
    everywhere = {key for tree in TREES.values() for key in written_logs(tree)}
    ours = [c for callback in CALLBACKS.values() for c in classes_of(callback)]
    assert everywhere == {key for tree in ours for key in written_logs(tree)}
    assert set(COMPUTED) <= {text for _, text in everywhere}


def logged_by(callback):
    """The names that a callback logs, also by what it inherits."""
    for tree in classes_of(callback):
        for kind, text in written_logs(tree):
            own = getattr(callback, text.removeprefix("self."), None)
            if kind == "name":
                yield text
            elif isinstance(own, str):
                yield own
            else:
                yield from COMPUTED[text]


def classes_of(callback):
    """The syntax trees of a class and of those of ours that it inherits from."""
    for ours in callback.__mro__:
        file = ours.__module__.removeprefix("keras_ext.").replace(".", "/") + ".py"
        for node in getattr(TREES.get(file), "body", ()):
            if isinstance(node, ast.ClassDef) and node.name == ours.__name__:
                yield node


def written_logs(tree):
    """What code puts into `logs`: names, and expressions that names come from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            if getattr(node.value, "id", "") == "logs":
                yield name_or_expression(node.slice)
        elif isinstance(node, ast.Call) and is_of_logs(node.func, "setdefault"):
            yield name_or_expression(node.args[0])
        elif isinstance(node, ast.Call) and is_of_logs(node.func, "update"):
            yield from (("name", k.arg) for k in node.keywords if k.arg)
            of_mappings = [k.value for k in node.keywords if not k.arg]
            for mapping in (*node.args, *of_mappings):
                yield "expression", ast.unparse(mapping)


def is_of_logs(function, name):
    owner = getattr(function, "value", None)
    return getattr(function, "attr", "") == name and getattr(owner, "id", "") == "logs"


def name_or_expression(node):
    if text_of(node):
        return "name", text_of(node)
    return "expression", ast.unparse(node)
