"""What of KerasTuner's own tests passes on its classes, and what on those of keras_ext?

The tests of tuners and oracles are taken from a checkout of KerasTuner, and run against
the package that is installed: once as they are, and once with `Tuner`, `Oracle`,
`RandomSearch`, `GridSearch`, `Hyperband`, `BayesianOptimization` and the oracles of the
last four replaced by the classes of `keras_ext.tuner` with these names, wherever
KerasTuner exports them. Of TensorBoard, and all else, both see the same.

Printed is each test whose outcome differs, with the last line of its error, and how
many pass on both.

Run: `git clone https://github.com/keras-team/keras-tuner DIR`, and then
`python benchmarks/keras_tuner_suite.py DIR [-k EXPRESSION]`
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

FILES = (
    "engine/base_tuner_test.py",
    "engine/oracle_test.py",
    "engine/tuner_test.py",
    "tuners/bayesian_test.py",
    "tuners/gridsearch_test.py",
    "tuners/hyperband_test.py",
    "tuners/randomsearch_test.py",
)
# What the tests see as the package.
SEEN = """
import os
import keras_tuner
put = {}
if os.environ.get("WITH_KERAS_EXT"):
    from with_keras_ext import put
def __getattr__(name):
    return put[name] if name in put else getattr(keras_tuner, name)
"""
# In the place of a package that the helper needs.
PORTS = """
import socket
def pick_unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
"""
HELPER = "test_utils/mock_distribute.py"
ROOT = Path(__file__).parents[1]
PLUGIN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import keras_tuner
from keras_tuner.src import oracles, tuners
import keras_tuner.src.engine.oracle, keras_tuner.src.engine.tuner
import keras_ext.tuner as ours
from keras_ext.tuner import _bayesian_optimization, _grid_search, _hyperband
from keras_ext.tuner import _random_search
put = {{
    "Tuner": ours.Tuner,
    "Oracle": ours.Oracle,
    "RandomSearch": ours.RandomSearch,
    "GridSearch": ours.GridSearch,
    "Hyperband": ours.Hyperband,
    "BayesianOptimization": ours.BayesianOptimization,
    "RandomSearchOracle": _random_search.RandomSearchOracle,
    "GridSearchOracle": _grid_search.GridSearchOracle,
    "HyperbandOracle": _hyperband.HyperbandOracle,
    "BayesianOptimizationOracle": _bayesian_optimization.BayesianOptimizationOracle,
}}
base = keras_tuner.Oracle
stock = {{name: value.__mro__ for name, value in put.items()}}
for name, module in list(sys.modules.items()):
    # Not in the package itself, to which keras_ext refers.
    if name.startswith("keras_tuner.src."):
        for attribute, value in list(vars(module).items()):
            for key in (attribute, f"{{attribute}}Oracle"):
                if key in put and isinstance(value, type) and value in stock[key][1:]:
                    if ("Oracle" in key) == issubclass(value, base):
                        setattr(module, attribute, put[key])
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("-k", default="", help="which tests, as of pytest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tests = copied(options.checkout, Path(folder))
        stock = outcomes(tests, options.k, plugin=None)
        ours = outcomes(tests, options.k, plugin="with_keras_ext")
    report(stock, ours)


def copied(checkout, folder):
    """The tests, importing from where this version of KerasTuner keeps its modules."""
    (folder / "with_keras_ext.py").write_text(PLUGIN)
    (folder / "keras_tuner_seen.py").write_text(SEEN)
    (folder / "portpicker.py").write_text(PORTS)
    pattern = re.compile(r"^((?:from|import) keras_tuner)\.(?!src)", re.MULTILINE)
    whole = re.compile(r"^from keras_tuner import (\w+)$", re.MULTILINE)
    plain = re.compile(r"^import keras_tuner$", re.MULTILINE)
    inside = "backend|distribute|engine|utils|tuners\\.randomsearch"
    used = re.compile(rf"\bkeras_tuner\.(?=(?:{inside})\.)")
    for name in (HELPER, *FILES):
        text = (checkout / "keras_tuner" / name).read_text()
        # What only the checkout has stands beside the tests.
        text = text.replace("from keras_tuner.test_utils import", "import")
        text = pattern.sub(r"\1.src.", text)
        text = whole.sub(r"from keras_tuner.src import \1", text)
        text = plain.sub("import keras_tuner_seen as keras_tuner", text)
        text = used.sub("keras_tuner.src.", text)
        # As pytest wants them, and with all names apart.
        own = Path(name).name if name == HELPER else f"test_{Path(name).name}"
        (folder / own).write_text(text)
    return folder


def outcomes(folder, expression, plugin):
    results = folder / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--junitxml", str(results), "-W", "ignore", "--rootdir", str(folder)]
    command += ["-k", expression, *(["-p", plugin] if plugin else []), str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "NO_COLOR": "1"}
    environment["WITH_KERAS_EXT"] = "1" if plugin else ""
    subprocess.run(command, cwd=folder, env=environment, check=False, text=True)
    found = {}
    for case in ElementTree.parse(results).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        problem = [child for child in case if child.tag in ("failure", "error")]
        message = problem[0].get("message", "") if problem else ""
        skipped = case.find("skipped") is not None
        outcome = "skipped" if skipped else "failed" if problem else "passed"
        found[name] = outcome, message
    return found


def report(stock, ours):
    both = sum(stock[n][0] == ours.get(n, ("",))[0] == "passed" for n in stock)
    passing = [sum(v[0] == "passed" for v in found.values()) for found in (stock, ours)]
    print(f"\n{len(stock)} tests; stock passes {passing[0]}, keras_ext {passing[1]}, ")
    print(f"both {both}. Those that differ:")
    for name, (outcome, message) in stock.items():
        own, own_message = ours.get(name, ("not run", ""))
        if own != outcome:
            told = (own_message or message).strip().replace("\n", " ")
            print(f"{outcome:>8} {own:>8}  {name}: {told[:300]}")


if __name__ == "__main__":
    main()
