"""Which failures end a search. Of values that are not finite: see `test_oracle.py`."""

import pytest

import keras_ext as kx
from keras_ext.tuner._tolerant_oracle import out_of_memory


def too_large_from(bound):
    def loss(hp):
        value = hp.Int("x", 0, 9)
        if value >= bound:
            raise MemoryError("9 GB")
        return value

    return loss


def test_what_was_too_large_ends_no_search_that_has_a_result(searching):
    tuner = searching(kx.tuner.GridSearch, too_large_from(2))
    search = tuner(max_retries_per_trial=1)
    search.search(verbose=0)
    messages = [t.message for t in search.oracle.trials.values()]
    assert len(messages) == 10
    assert sum((m or "").startswith("Out of memory: ") for m in messages) == 8
    assert "9 GB" in messages[-1]
    # Once more would need as much.
    assert set(search.oracle._run_times.values()) == {1}


def test_it_ends_one_in_which_all_are(searching):
    search = searching(kx.tuner.GridSearch, too_large_from(0))()
    with pytest.raises(RuntimeError, match=r"limit of 3.\nOut of memory: "):
        search.search(verbose=0)


@pytest.mark.parametrize(
    ("traceback", "says"),
    [
        ("Traceback\n  x()\nMemoryError: 9 GB\n", "MemoryError: 9 GB"),
        (
            "T\ntensorflow.python.framework.errors_impl.ResourceExhaustedError: "
            "Graph execution error:\n\nDetected at node\n",
            "ResourceExhaustedError: Graph execution error:",
        ),
        ("T\nInternalError: RESOURCE_EXHAUSTED: Out of memory\n", "RESOURCE_EXHAUSTED"),
        ("T\nValueError: the MemoryError is not meant\n", None),
        ("", None),
    ],
)
def test_errors_of_memory_are_known(traceback, says):
    found = out_of_memory(traceback)
    if says is None:
        assert found == ""
    else:
        assert found.startswith("Out of memory: ")
        assert says in found
