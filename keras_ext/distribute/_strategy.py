"""The strategy that fits the hardware and the environment."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_ext._core._checks import is_number, require
from keras_ext.distribute._cluster import Cluster, cluster_of
from keras_ext.distribute._rendezvous import rendezvous

_KINDS = ("auto", "mirrored", "multi_worker", "tpu", "one_device")


def strategy(
    kind: str = "auto",
    *,
    devices: Sequence[str] | None = None,
    workers: Sequence[str] | None = None,
    index: int | None = None,
    tpu: str = "",
    timeout: float = 300.0,
) -> Any:
    """Makes the strategy of `tf.distribute` that fits the hardware.

    With several workers it must be called before anything else is done with
    TensorFlow, and every worker must call it. It returns when all have, or raises.

    Args:
        kind: `"multi_worker"` for several processes; `"mirrored"` for several devices
            of one process; `"one_device"`; `"tpu"`; or `"auto"`, which is
            `"multi_worker"` if `workers`, the variable TF_CONFIG or SLURM name several
            processes, else `"mirrored"` if there are several GPUs, and else the default
            strategy, which is none. Defaults to `"auto"`.
        devices: The devices of `"mirrored"` and `"one_device"`, such as `["GPU:0"]`.
            None means all GPUs, or the first, and without one the CPU.
        workers: The addresses of the workers, each `"host:port"`, the same list
            everywhere; the first worker is the chief. None means what TF_CONFIG says;
            or, in a process that `srun` started, SLURM.
        index: Integer, the place of this process in `workers`.
        tpu: Name or address of the TPU, as `TPUClusterResolver` takes it.
            Defaults to `""`.
        timeout: How long to wait for the other workers, in seconds.
            Defaults to `300.0`.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: If an argument, TF_CONFIG or the SLURM variables are wrong.
        RuntimeError: If a worker does not come in time, or the workers disagree about
            the cluster or their numbers of devices.

    Examples:
        >>> import keras_ext as kx
        >>> strategy = kx.distribute.strategy("one_device", devices=["CPU:0"])
        >>> strategy.num_replicas_in_sync
        1
    """
    require(kind in _KINDS, "kind", kind, f"one of {_KINDS}")
    require(is_number(timeout) and timeout > 0, "timeout", timeout, "a number > 0")
    cluster = None
    if kind in ("auto", "multi_worker"):
        cluster = cluster_of(workers, index)
    require(
        kind != "multi_worker" or cluster is not None,
        "workers",
        workers,
        "given if neither TF_CONFIG nor SLURM name workers",
        hint="`python -m keras_ext.distribute.launch` sets TF_CONFIG.",
    )
    if cluster is not None and (kind == "multi_worker" or len(cluster.addresses) > 1):
        return _multi_worker(cluster, timeout)
    if kind == "tpu":
        return _tpu(tpu)
    gpus = [f"GPU:{i}" for i in range(_num_gpus())]
    if kind == "one_device":
        return tf.distribute.OneDeviceStrategy((devices or gpus or ["CPU:0"])[0])
    if kind == "mirrored" or len(devices or gpus) > 1:
        return tf.distribute.MirroredStrategy(devices or gpus or ["CPU:0"])
    return tf.distribute.get_strategy()


def _multi_worker(cluster: Cluster, timeout: float) -> Any:
    num_gpus = _num_gpus()
    # tf.distribute takes it for granted that all workers have equally many devices.
    rendezvous(cluster, {"the number of GPUs": num_gpus}, timeout)
    return tf.distribute.MultiWorkerMirroredStrategy(cluster.resolver(num_gpus))


def _num_gpus() -> int:
    """The number of GPUs, found without starting them, which would be too early."""
    parts = [
        tf.config.get_logical_device_configuration(gpu) or [gpu]
        for gpu in tf.config.get_visible_devices("GPU")
    ]
    return sum(len(part) for part in parts)


def _tpu(address: str) -> Any:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
