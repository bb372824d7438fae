"""Whether this process is the one that writes files."""

import tensorflow as tf

from keras_ext.distribute._cluster import cluster_of


def is_chief() -> bool:
    """Whether this process is the first of the workers, or the only one.

    Use it for things to do once: printing, writing files, uploading. Do not let the
    chief alone do anything that needs all workers: `fit`, `evaluate`, `predict`,
    saving, and reading metrics. It would wait for the others.

    Within the scope of a strategy it asks the strategy, and elsewhere TF_CONFIG and
    the SLURM variables.

    Returns:
        `True` or `False`.

    Raises:
        ValueError: If TF_CONFIG or the SLURM variables are wrong.

    Examples:
        >>> import keras_ext as kx
        >>> kx.distribute.is_chief()
        True
    """
    resolver = tf.distribute.get_strategy().cluster_resolver
    if isinstance(resolver, tf.distribute.cluster_resolver.TPUClusterResolver):
        return True
    if resolver is None or not resolver.task_type:
        cluster = cluster_of()
        return cluster is None or cluster.index == 0
    if resolver.task_type == "chief":
        return True
    # Without a chief, TensorFlow takes the first worker for it.
    return resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
