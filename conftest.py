"""How the suite runs: a fresh start for every test, fast graphs, and what is left out.

`pytest` runs what tells most for its time, `pytest --thorough` everything. The rules of
what is left out stand in `tests/thorough.py`.
"""

import gc
import os
import random
import sys

import pytest

# What XLA compiles here runs once or twice, so that optimizing it does not pay.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


def pytest_addoption(parser):
    parser.addoption(
        "--thorough", action="store_true", help="run the tests marked `thorough` too"
    )
    parser.addoption(
        "--as-shipped",
        action="store_true",
        help="optimize graphs as TensorFlow does by default, which takes twice as long",
    )


def pytest_configure(config):
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # This process only hands out the tests.
    import tensorflow as tf

    # TensorFlow takes this only before it is used for the first time. The tests of
    # distribution need the two.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    optimize_graphs(config.getoption("as_shipped"))


def pytest_collection_modifyitems(config, items):
    asked_for = any("::" in argument for argument in config.args)
    if config.getoption("thorough") or asked_for:
        return
    left_out = [item for item in items if item.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("thorough")]


def pytest_collectstart(collector):
    # Layers among the parameters of tests draw the seeds of their weights as their
    # module is imported: the same ones, whatever else is collected.
    if isinstance(collector, pytest.Module):
        random.seed(0)


def pytest_collection_finish():
    # How far something is is said by the clock, which no test is about.
    if "keras_ext._core._progress" in sys.modules:
        progress = sys.modules["keras_ext._core._progress"].Progress
        progress.__init__.__kwdefaults__["clock"] = lambda: 0.0
    # All that was imported stays. Without this, a fifth of the time goes into looking
    # through it for garbage.
    gc.collect()
    gc.freeze()


def optimize_graphs(yes):
    """Whether TensorFlow rewrites graphs before it runs them.

    Half of the time of a short training goes into this. It is not what the tests are
    about: those that need it ask for the fixture `graphs_as_shipped`.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not yes})


@pytest.fixture
def graphs_as_shipped(pytestconfig):
    """Graphs are optimized as they are for users."""
    optimize_graphs(True)
    yield
    optimize_graphs(pytestconfig.getoption("as_shipped"))


@pytest.fixture(autouse=True)
def _reproducible():
    """Every test starts from the same seed, float32, no figures and no other state."""
    import keras

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")
    keras.utils.clear_session(free_memory=False)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
