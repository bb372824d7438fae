"""Replicas that train on their own and are averaged now and then."""

from keras_ext._core._checks import flag, integer
from keras_ext._engine._local_updates import LocalUpdates
from keras_ext._fit._fit_scope import FitScope
from keras_ext._live._hyper_variable import HyperVariable
from keras_ext.callbacks.local._local_training import LocalTraining


class LocalSGD(LocalTraining):
    """Lets every replica make its own updates, and averages the weights at intervals.

    In ordinary training the replicas sum their gradients at every step. With this
    callback each one applies the gradient of its own part of the batch to its own copy
    of the weights, with the optimizer that the model was compiled with. Every
    `sync_every` steps the copies are averaged, so there are `sync_every` times fewer
    reductions. With 1 the gradients are averaged, which is ordinary training. Use it if
    communication is slow, or to study its effect on a model. On one replica it does
    nothing.

    The learning rate means what it means for a batch of one replica, which is smaller
    than that of all together.

    The weights are also averaged at the end of each epoch, at the end of training, and
    whenever `evaluate`, `predict`, `save`, `save_weights`, `export` or `get_weights` of
    the model is called; all workers must call it then. The state of the optimizer, such
    as momentum, and the statistics of batch normalization are averaged there as well.
    If you read a variable in another way in the middle of an epoch, you get that of the
    first replica.

    All replicas of the process skip a step in which a gradient is NaN or infinite.

    Logs `synchronizations`, the number of reductions so far, and `nonfinite_steps`, the
    mean number of steps that a replica skipped.

    It cannot be combined with callbacks and transforms that need the gradient of the
    whole batch, such as `GradientMonitor`; with loss scaling (`mixed_float16`); with
    `use_ema` and `gradient_accumulation_steps` of the optimizer; or, on several
    replicas, with `jit_compile=True`. `clipnorm` and the like clip on each replica.

    Args:
        sync_every: Integer >= 1, the number of steps between two averagings. A
            `HyperVariable`, which may change while training. Defaults to `8`.
        average_state: Whether to average what the optimizer keeps for the weights each
            time, too. It makes a reduction 2 times as large with momentum, and 3 times
            with Adam. Defaults to `False`.

    Attributes:
        sync_every: The `HyperVariable`.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if the
            model cannot be trained so.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> with kx.distribute.MultiWorker():
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        ...     model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        ...     local = kx.callbacks.LocalSGD(sync_every=16)
        ...     history = model.fit(
        ...         np.ones((64, 4)), np.ones((64, 1)), callbacks=[local], verbose=0
        ...     )
        >>> type(model.optimizer).__name__
        'SGD'

    References:
        - [Stich, 2019](https://arxiv.org/abs/1805.09767)
    """

    compiled = frozenset({"average_state"})

    def __init__(self, sync_every: int = 8, *, average_state: bool = False) -> None:
        super().__init__()
        self.sync_every = steps_between(sync_every)
        self.average_state = flag(average_state, "average_state")

    def make_updates(self, scope: FitScope) -> LocalUpdates:
        return LocalUpdates(scope, self.sync_every, self.average_state)


def steps_between(sync_every: int) -> HyperVariable:
    """The number of steps between two reductions, as something that can change."""
    steps = integer(sync_every, "sync_every", low=1)
    return HyperVariable(
        steps, "sync_every", bounds=(1, None), scale="log", dtype="int32"
    )
