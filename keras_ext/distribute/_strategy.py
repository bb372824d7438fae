"""The strategy that fits the hardware and the environment."""

from collections.abc import Sequence

import tensorflow as tf

from keras_ext._core._checks import choice, number, require
from keras_ext._core._typing import Strategy
from keras_ext._keras import _symbolic_build
from keras_ext.distribute._cluster import Cluster, cluster_of
from keras_ext.distribute._rendezvous import rendezvous

KINDS = ("auto", "mirrored", "multi_worker", "tpu", "one_device")


def strategy(
    kind: str = "auto",
    *,
    devices: Sequence[str] | None = None,
    workers: Sequence[str] | None = None,
    index: int | None = None,
    tpu: str = "",
    timeout: float = 300.0,
) -> Strategy:
    """Makes the strategy of `tf.distribute` that fits the hardware.

    With several workers it must be called before anything else is done with
    TensorFlow, and every worker must call it. It returns when all have, or raises.

    What Keras 3.14 and 3.15 do wrong with several replicas or workers is repaired from
    then on, if the installed Keras does it, so that `fit` works. Seeds, and who writes
    files, are left to the script; `keras_ext.distribute.MultiWorker` sees to them, too.

    Args:
        kind: `"multi_worker"` for several processes; `"mirrored"` for several devices
            of one process; `"one_device"`; `"tpu"`; or `"auto"`, which is
            `"multi_worker"` if `workers`, the variable TF_CONFIG or SLURM name several
            processes, else `"mirrored"` if there are several GPUs, and else the default
            strategy, which does nothing. Defaults to `"auto"`.
        devices: The devices of `"mirrored"` and `"one_device"`, such as `["GPU:0"]`.
            None means all GPUs, or the first, and without one the CPU.
        workers: The addresses of the workers, each `"host:port"`, the same list
            everywhere; the first worker is the chief. None means what TF_CONFIG says;
            or, in a process that `srun` started, SLURM.
        index: Integer, the place of this process in `workers`. None without these.
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
    choice(kind, "kind", KINDS)
    number(timeout, "timeout", above=0)
    valid = isinstance(tpu, str) and (kind == "tpu" or not tpu)
    require(valid, "tpu", tpu, 'a text, and empty unless kind="tpu"')
    _require_devices(devices)
    cluster = _cluster(kind, workers, index)
    several = cluster is not None and len(cluster.addresses) > 1
    kind = "multi_worker" if several else kind
    if kind in ("multi_worker", "tpu"):
        require(devices is None, "devices", devices, f'None with kind="{kind}"')
    if cluster is not None and kind == "multi_worker":
        made = _multi_worker(cluster, timeout)
    elif kind == "tpu":
        made = _tpu(tpu)
    else:
        made = _of_this_process(kind, devices)
    if _symbolic_build.has_parts(made):
        _symbolic_build.repair()
    return made


def _require_devices(devices: object) -> None:
    valid = devices is None or (
        isinstance(devices, list | tuple)
        and len(devices) > 0
        and all(isinstance(device, str) for device in devices)
    )
    require(valid, "devices", devices, 'a list such as ["GPU:0"], or None')


def _cluster(
    kind: str, workers: Sequence[str] | None, index: int | None
) -> Cluster | None:
    """The cluster that is given or found, for the kinds that have one."""
    if kind not in ("auto", "multi_worker"):
        for name, value in (("workers", workers), ("index", index)):
            require(value is None, name, value, f'None with kind="{kind}"')
        return None
    cluster = cluster_of(workers, index)
    require(
        kind != "multi_worker" or cluster is not None,
        "workers",
        workers,
        "given if neither TF_CONFIG nor SLURM name workers",
        hint="`python -m keras_ext.distribute.launch` sets TF_CONFIG.",
    )
    return cluster


def _of_this_process(kind: str, devices: Sequence[str] | None) -> Strategy:
    gpus = [f"GPU:{i}" for i in range(_num_gpus())]
    if kind == "one_device":
        return tf.distribute.OneDeviceStrategy((devices or gpus or ["CPU:0"])[0])
    if kind == "mirrored" or len(devices or gpus) > 1:
        return tf.distribute.MirroredStrategy(devices or gpus or ["CPU:0"])
    return tf.distribute.get_strategy()


def _multi_worker(cluster: Cluster, timeout: float) -> Strategy:
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


def _tpu(address: str) -> Strategy:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
