import json

import pytest
import tensorflow as tf

from keras_ext.distribute import is_chief


@pytest.fixture
def tf_config(monkeypatch):
    def set_to(kind, index, **cluster):
        config = {"cluster": cluster, "task": {"type": kind, "index": index}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))

    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    return set_to


def test_alone(tf_config):
    assert is_chief()


@pytest.mark.parametrize(
    ("kind", "index", "expected"),
    [("worker", 0, False), ("worker", 1, False), ("chief", 0, True)],
)
def test_with_a_job_of_its_own(tf_config, kind, index, expected):
    tf_config(kind, index, chief=["a:1"], worker=["b:2", "c:3"])
    assert is_chief() is expected


@pytest.mark.parametrize("index", [0, 1])
def test_without(tf_config, index):
    tf_config("worker", index, worker=["b:2", "c:3"])
    assert is_chief() is (index == 0)


def test_slurm(tf_config, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "n[1-2]")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "1(x2)")
    for rank in (0, 1):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        assert is_chief() is (rank == 0)


def test_in_the_scope_of_replicas_of_one_process(tf_config, strategies):
    with strategies(2).scope():
        assert tf.distribute.has_strategy()
        assert is_chief()


def test_bad_variable(tf_config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "worker 1")
    with pytest.raises(ValueError, match="`TF_CONFIG` must be JSON"):
        is_chief()
