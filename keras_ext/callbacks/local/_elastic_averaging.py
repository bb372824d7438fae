"""Replicas that train on their own, tied to a common center."""

from keras_ext._core._checks import number
from keras_ext._engine._elastic_updates import ElasticUpdates
from keras_ext._fit._fit_scope import FitScope
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.callbacks.local._local_sgd import steps_between
from keras_ext.callbacks.local._local_training import LocalTraining


class ElasticAveraging(LocalTraining):
    """Ties replicas that train on their own to a common center (EASGD).

    Every replica has its own weights `x` and makes updates with the gradient of its own
    part of the batch. Every `sync_every` steps it is pulled towards the center `c`, and
    the center towards the replicas: with `R` replicas and `a = elasticity / R`, to
    `x - a (x - c)` and `c + a * sum(x - c)`, just before the update. Unlike with
    `LocalSGD`, the replicas stay apart and explore. The center is evaluated, saved, and
    left on the model at the end. It costs memory for one more copy of the weights.

    Epochs do not bring the replicas together: between them, and for `evaluate`,
    `predict`, `save`, `save_weights`, `export` and `get_weights` of the model, which
    all workers must call then, the center takes the place of the weights. A training
    that goes on from a file begins with all replicas at the center.

    Logs `synchronizations` and `nonfinite_steps`, as `LocalSGD` does. See `LocalSGD`
    for details and limitations, which apply here, too.

    Args:
        sync_every: Integer >= 1, the number of steps between two pulls. A
            `HyperVariable`, which may change while training. Defaults to `10`.
        elasticity: Number in (0, 1], by how much of its distance to the mean of the
            replicas the center moves, `beta` of the paper. A `HyperVariable`.
            Defaults to `0.9`.

    Attributes:
        sync_every: The `HyperVariable`.
        elasticity: The `HyperVariable`.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if the
            model cannot be trained so.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> with kx.distribute.MultiWorker():
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        ...     model.compile(keras.optimizers.SGD(0.1), "mse")
        ...     elastic = kx.callbacks.ElasticAveraging()
        ...     history = model.fit(
        ...         np.ones((64, 4)), np.ones((64, 1)), callbacks=[elastic], verbose=0
        ...     )
        >>> type(model.optimizer).__name__
        'SGD'

    References:
        - [Zhang et al., 2015](https://arxiv.org/abs/1412.6651)
    """

    def __init__(self, sync_every: int = 10, *, elasticity: float = 0.9) -> None:
        super().__init__()
        self.sync_every = steps_between(sync_every)
        elasticity = number(elasticity, "elasticity", above=0, high=1)
        self.elasticity = HyperVariable(elasticity, "elasticity", bounds=(0.0, 1.0))

    def make_updates(self, scope: FitScope) -> ElasticUpdates:
        return ElasticUpdates(scope, self.sync_every, self.elasticity)
