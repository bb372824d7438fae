"""What TF_CONFIG and the variables of SLURM say."""

import json

import pytest

from keras_ext.distribute._cluster import cluster_of

A, B, C = "a:1", "b:2", "c:3"


def tf_config(cluster, **task):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def slurm(nodes, per_node, rank, tasks, **more):
    return {
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": per_node,
        "SLURM_PROCID": str(rank),
        **more,
    }


def test_none():
    assert cluster_of(environment={}) is None
    assert cluster_of(environment={"TF_CONFIG": "{}"}) is None
    assert cluster_of(environment=slurm("n1", "1", 0, 1)) is None


def test_arguments_come_first():
    cluster = cluster_of([A, B], 1, tf_config({"worker": [C]}, type="worker", index=0))
    assert (cluster.addresses, cluster.index) == ((A, B), 1)


def test_tf_config_of_workers():
    found = tf_config({"worker": [A, B]}, type="worker", index=1)
    cluster = cluster_of(environment=found)
    assert (cluster.addresses, cluster.index) == ((A, B), 1)
    resolver = cluster.resolver(0)
    assert (resolver.task_type, resolver.task_id) == ("worker", 1)
    assert resolver.cluster_spec().as_dict() == {"worker": [A, B]}


@pytest.mark.parametrize(
    ("kind", "index", "place"), [("chief", 0, 0), ("worker", 0, 1), ("worker", "1", 2)]
)
def test_tf_config_with_a_chief(kind, index, place):
    found = tf_config({"chief": [A], "worker": [B, C]}, type=kind, index=index)
    cluster = cluster_of(environment=found)
    assert (cluster.addresses, cluster.index) == ((A, B, C), place)
    resolver = cluster.resolver(2)
    assert (resolver.task_type, resolver.task_id) == (kind, int(index))
    assert resolver.cluster_spec().as_dict() == {"chief": [A], "worker": [B, C]}
    assert resolver.num_accelerators() == {"GPU": 2}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"TF_CONFIG": "{"}, "`TF_CONFIG` must be JSON of the form"),
        ({"TF_CONFIG": "[]"}, "`TF_CONFIG` must be JSON of the form"),
        (tf_config({"worker": [A], "ps": [B]}, index=0), 'at most one "chief"'),
        (tf_config({"chief": [A, B]}, type="chief", index=0), "at most one"),
        (tf_config({"worker": [A]}, type="chief", index=0), "task type` must be one"),
        (tf_config({"worker": [A]}, index=1), "index` must be an integer in"),
        (tf_config({"worker": [A]}, index=-1), "index` must be an integer in"),
        (tf_config({"worker": ["host"]}, index=0), 'must be a list of "host:port"'),
        (tf_config({"worker": [A, A]}, index=0), "must be different addresses"),
    ],
)
def test_wrong_tf_config(found, message):
    with pytest.raises(ValueError, match=message):
        cluster_of(environment=found)


@pytest.mark.parametrize(
    ("nodes", "per_node", "hosts"),
    [
        ("gpu7", "2", ["gpu7"] * 2),
        # In the order of SLURM, and not of the alphabet.
        ("n[9-11]", "1(x3)", ["n9", "n10", "n11"]),
        ("n[01-02,07],in", "2,1(x3)", ["n01", "n01", "n02", "n07", "in"]),
        ("a[1-2].site,b.site", "1(x3)", ["a1.site", "a2.site", "b.site"]),
    ],
)  # fmt: skip
def test_slurm(nodes, per_node, hosts):
    for rank in range(len(hosts)):
        found = slurm(nodes, per_node, rank, len(hosts), SLURM_JOB_ID="100007")
        cluster = cluster_of(environment=found)
        assert cluster.index == rank
        assert [a.partition(":")[0] for a in cluster.addresses] == hosts
        assert len(set(cluster.addresses)) == len(hosts)
        assert all(
            40_000 > int(a.partition(":")[2]) >= 20_000 for a in cluster.addresses
        )


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"SLURM_STEP_NUM_TASKS": "2"}, "SLURM variables` must be complete"),
        (slurm("n[1-2]", "1(x2)", 0, 3), "must be 3 tasks in all"),
        (slurm("n[1-2]", "1(x2)", 2, 2), "SLURM_PROCID` must be an integer in"),
        (slurm("n[1-2]r[1-2]", "1(x4)", 0, 4), "names with at most one"),
        (slurm("n[a-b]", "1(x2)", 0, 2), "must be of ranges such as 01-03,7"),
        (slurm("n[1-2]", "1(x2)", "?", 2), "`SLURM_PROCID` must be an integer >= 0"),
        ({"SLURM_STEP_NUM_TASKS": "two"}, "`SLURM_STEP_NUM_TASKS` must be an integer"),
    ],
)
def test_wrong_slurm(found, message):
    with pytest.raises(ValueError, match=message):
        cluster_of(environment=found)


@pytest.mark.parametrize(
    ("workers", "index", "message"),
    [
        ([], 0, "`workers` must be a list"),
        ("a:1", 0, "`workers` must be a list"),
        ([A], None, "`index` must be an integer in"),
        (None, 0, "`index` must be None without `workers`"),
    ],
)
def test_wrong_arguments(workers, index, message):
    with pytest.raises(ValueError, match=message):
        cluster_of(workers, index, {})
