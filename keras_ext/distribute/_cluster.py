"""Which workers there are, as the environment tells."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from keras_ext._core._checks import integer, is_integer, require

_SHAPE = '{"cluster": {"worker": [addresses]}, "task": {"type": "worker", "index": 0}}'
_SLURM = (
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_PROCID",
)


@dataclass(frozen=True)
class Cluster:
    """The workers, and which of them this process is.

    Args:
        addresses: Of each worker its `"host:port"`; the first one is the chief.
        index: The place of this process in the list.
        has_chief_job: Whether the first one is of a job of its own, `"chief"`.
    """

    addresses: tuple[str, ...]
    index: int
    has_chief_job: bool = False

    def resolver(self, num_gpus: int) -> tf.distribute.cluster_resolver.ClusterResolver:
        """What `MultiWorkerMirroredStrategy` wants to be told."""
        jobs = {"worker": list(self.addresses)}
        kind, index = "worker", self.index
        if self.has_chief_job:
            jobs = {"chief": jobs["worker"][:1], "worker": jobs["worker"][1:]}
            kind, index = ("chief", 0) if index == 0 else ("worker", index - 1)
        return tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({name: job for name, job in jobs.items() if job}),
            task_type=kind,
            task_id=index,
            rpc_layer="grpc",
            num_accelerators={"GPU": num_gpus},
        )


def cluster_of(
    workers: Sequence[str] | None = None,
    index: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Cluster | None:
    """The cluster of the arguments, or of TF_CONFIG, or of SLURM; None without any."""
    if workers is not None:
        return _checked(workers, index, "workers", "index")
    require(index is None, "index", index, "None without `workers`")
    if environment.get("TF_CONFIG"):
        return _from_tf_config(environment["TF_CONFIG"])
    # Of the step, since a job may have several, with other numbers of tasks.
    if _whole(environment, "SLURM_STEP_NUM_TASKS", "1") > 1:
        return _from_slurm(environment)
    return None


def _checked(
    addresses: Sequence[str],
    index: int | None,
    name: str,
    index_name: str,
    chief: bool = False,
) -> Cluster:
    valid = isinstance(addresses, list | tuple) and len(addresses) > 0
    valid = valid and all(
        isinstance(a, str) and re.fullmatch(r"\S+:\d+", a) for a in addresses
    )
    require(valid, name, addresses, 'a list of "host:port"')
    unique = len(set(addresses)) == len(addresses)
    require(unique, name, addresses, "different addresses")
    place = integer(index, index_name, low=0, high=len(addresses) - 1)
    return Cluster(tuple(addresses), place, chief)


def _from_tf_config(text: str) -> Cluster | None:
    try:
        config = json.loads(text)
        jobs = config.get("cluster", {})
        task = config.get("task", {})
        kind, index = task.get("type", "worker"), task.get("index", 0)
        chiefs, workers = [list(jobs.get(job, [])) for job in ("chief", "worker")]
    except (AttributeError, TypeError, ValueError):
        require(False, "TF_CONFIG", text, f"JSON of the form {_SHAPE}")
        raise
    if not jobs:
        return None
    known = set(jobs) <= {"chief", "worker"} and len(chiefs) <= 1
    require(
        known,
        "TF_CONFIG",
        text,
        'a cluster of "worker" and at most one "chief"',
        hint="Parameter servers and evaluators have no part in synchronous training.",
    )
    require(kind in jobs, "TF_CONFIG task type", kind, f"one of {sorted(jobs)}")
    # Some programs write numbers as strings, and TensorFlow takes them.
    index = int(index) if isinstance(index, str) and index.isdigit() else index
    if kind == "worker" and is_integer(index) and index >= 0:
        index = index + len(chiefs)
    name = "TF_CONFIG cluster"
    return _checked(chiefs + workers, index, name, "TF_CONFIG task index", bool(chiefs))


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    missing = [name for name in _SLURM if name not in environment]
    require(not missing, "SLURM variables", missing, "complete", "Start it with srun.")
    nodes = environment["SLURM_STEP_NODELIST"]
    per_node = environment["SLURM_STEP_TASKS_PER_NODE"]
    # By the job, since two jobs may share a machine.
    base = 20_000 + _whole(environment, "SLURM_JOB_ID", "0") % 20_000
    addresses = [
        f"{host}:{base + local}"
        for host, count in zip(_hosts(nodes), _counts(per_node), strict=True)
        for local in range(count)
    ]
    tasks = _whole(environment, "SLURM_STEP_NUM_TASKS")
    valid = len(addresses) == tasks
    require(valid, "SLURM_STEP_TASKS_PER_NODE", per_node, f"{tasks} tasks in all")
    rank = _whole(environment, "SLURM_PROCID")
    return _checked(addresses, rank, "SLURM_STEP_NODELIST", "SLURM_PROCID")


def _whole(environment: Mapping[str, str], name: str, default: str = "") -> int:
    text = environment.get(name, default)
    require(text.isdecimal(), name, text, "an integer >= 0")
    return int(text)


def _counts(text: str) -> list[int]:
    """The numbers of tasks in "2(x3),1", as SLURM abbreviates 2, 2, 2, 1."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(count) for count, times in found for _ in range(int(times or 1))]


def _hosts(text: str) -> list[str]:
    """The names in "gpu[01-03,7],login", as SLURM abbreviates them."""
    hosts = []
    # A comma in brackets is between numbers, and not between names.
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        match = re.fullmatch(r"([^\[]*)(?:\[([^\]]+)\])?([^\[]*)", part)
        valid = match is not None
        require(valid, "SLURM_STEP_NODELIST", text, "names with at most one [range]")
        before, ranges, after = match.groups() if match else ("", None, "")
        hosts += [before + n + after for n in _numbers(ranges)] if ranges else [part]
    return hosts


def _numbers(ranges: str) -> list[str]:
    numbers = []
    for span in ranges.split(","):
        valid = re.fullmatch(r"\d+(-\d+)?", span) is not None
        require(valid, "SLURM_STEP_NODELIST", ranges, "of ranges such as 01-03,7")
        first, _, last = span.partition("-")
        for number in range(int(first), int(last or first) + 1):
            numbers.append(str(number).zfill(len(first)))
    return numbers
