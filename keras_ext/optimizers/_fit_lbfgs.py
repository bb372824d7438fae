"""Training on all data at once, by L-BFGS."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from keras_ext._anatomy._fixed_data import FixedData
from keras_ext._anatomy._trial import called
from keras_ext._core._checks import integer, number, require
from keras_ext._core._extras import import_extra
from keras_ext._core._typing import Data, Record
from keras_ext._engine._shown_weights import ShownWeights
from keras_ext._fit._detach import detach
from keras_ext._fit._scoped_callback import ScopedCallback
from keras_ext._keras._optimizer_family import build_optimizer, optimizer_family
from keras_ext.optimizers._flat_objective import FlatObjective

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

# So many points at most on one line: the usual number of trials is one.
_TRIALS = 25


def fit_lbfgs(  # noqa: PLR0913
    model: keras.Model,
    x: Data,
    y: Data = None,
    *,
    sample_weight: Data = None,
    max_iterations: int = 100,
    batch_size: int = 1024,
    memory: int = 10,
    gradient_tolerance: float = 1e-5,
    loss_tolerance: float = 1e-9,
    validation_data: Data = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 1,
) -> keras.callbacks.History:
    """Trains a model on all of its data at once, by L-BFGS with a strong Wolfe search.

    Use it to solve small problems to the end: a logistic regression, a network for a
    differential equation, the last layer of a frozen network. There it needs no
    learning rate and reaches the minimum: a logistic regression on digits took 51
    passes through the data to come within 0.1 % of the minimum and 153 until no entry
    of the gradient was above 1e-6; Adam on all data took 103 and 556, at the best of
    five rates. It does not generalize better than SGD, and is wasteful if a part of the
    data is enough for a step.

    The objective is the compiled loss with sample weights, `add_loss` and regularizers,
    averaged over all rows. Dropout is off and `BatchNormalization` uses the statistics
    it has, since the same weights have to have the same loss; the statistics stay. The
    batches only save memory: their size changes nothing, nor does the number of
    replicas if the model was made in the scope of a strategy. The compiled optimizer is
    not used.

    An iteration is an epoch to callbacks, with `loss`, `largest_gradient`, the largest
    entry of the gradient, and `evaluations`, the number of passes through the data so
    far, in its logs, and those of validation. Between iterations the model has the
    weights of the last one: `EarlyStopping`, `ModelCheckpoint` and `CSVLogger` work as
    in `fit`. Callbacks that change the step have none to change, and are refused.

    Search and line search are those of `scipy.optimize` (`L-BFGS-B`), in double
    precision and on the host, with `2 * memory` vectors of the length of all weights;
    loss and gradient are computed where the model is, in its own precision. In float32
    the gradient gets no smaller than about 1e-5 of what it was; for more, build and
    compile the model after `keras.config.set_floatx("float64")`.

    Args:
        model: The model, compiled with a loss that averages over samples.
        x: Arrays; or a `tf.data.Dataset` or `keras.utils.PyDataset` that yields the
            same batches each time.
        y: The targets; None with a dataset.
        sample_weight: The weights of the rows. None means 1.
        max_iterations: Integer >= 1, the number of steps at most. Defaults to `100`.
        batch_size: Integer >= 1, the number of rows of arrays that the model sees at
            once. Defaults to `1024`.
        memory: Integer >= 1, the number of steps whose change of the gradient is used
            to estimate the curvature. Defaults to `10`.
        gradient_tolerance: Number >= 0; it has converged when no entry of the gradient
            is larger. Defaults to `1e-05`.
        loss_tolerance: Number >= 0; it has converged when a step lowers the loss by
            less than this part of it, or of 1 if that is more. Defaults to `1e-09`.
        validation_data: What `model.evaluate` is called with after each iteration:
            `(x, y)`, `(x, y, sample_weight)` or a dataset. None means nothing.
        callbacks: Callbacks. Defaults to `()`.
        verbose: Integer in [0, 2]; 0 to be silent, 1 for a progress bar, 2 for a line
            per iteration. Defaults to `1`.

    Returns:
        The `History`. Its attribute `reason` says why it ended.

    Raises:
        ValueError: If an argument is not of this form, if the model is not compiled, if
            its loss at the beginning is not finite, if a weight has a constraint, or if
            a callback needs a step.
        ImportError: If SciPy is not installed.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 3.0], [3.0, 1.0]])
        >>> y = x @ [[2.0], [-1.0]] + 0.5
        >>> history = kx.optimizers.fit_lbfgs(model, x, y, verbose=0)
        >>> history.history["loss"][-1] < 1e-7
        True

    References:
        - [Liu and Nocedal, 1989](https://doi.org/10.1007/BF01589116)
    """
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    options: Record = {
        "maxiter": integer(max_iterations, "max_iterations", low=1),
        "maxcor": integer(memory, "memory", low=1),
        "gtol": number(gradient_tolerance, "gradient_tolerance", low=0),
        "ftol": number(loss_tolerance, "loss_tolerance", low=0),
        "maxls": _TRIALS,
        # Only the number of iterations bounds it.
        "maxfun": _TRIALS * max_iterations,
    }
    batch_size = integer(batch_size, "batch_size", low=1)
    data = _fixed(x, y, sample_weight, batch_size)
    if validation_data is not None:
        FixedData(validation_data, name="validation_data")
    told = _checked_callbacks(callbacks)
    verbose = integer(verbose, "verbose", low=0, high=2)
    _prepare(model, data)
    run = _Run(model, FlatObjective(model, data), validation_data)
    try:
        return run.minimize(told, options, verbose)
    except BaseException:
        detach(model)
        raise


class _History(keras.callbacks.History):
    """What `fit` returns, and why it ended."""

    reason = ""


class _Run:
    """One minimization: what SciPy asks, and what callbacks are told.

    Args:
        model: The model.
        objective: The loss over all data.
        validation_data: What is evaluated after each iteration, or None.
    """

    def __init__(
        self, model: keras.Model, objective: FlatObjective, validation_data: Data
    ) -> None:
        self._model = model
        self._objective = objective
        self._validation = validation_data
        self._epoch = 0
        self._has_begun = False
        self._gradients: dict[bytes, np.ndarray] = {}
        # Where the present iteration began, with loss and gradient.
        self._base = np.zeros(0), 0.0, np.zeros(0)

    def minimize(
        self, callbacks: list[keras.callbacks.Callback], options: Record, verbose: int
    ) -> keras.callbacks.History:
        scipy = import_extra("scipy.optimize", extra="optimizers")
        history, model = _History(), self._model
        self._told = keras.callbacks.CallbackList(
            [history, *callbacks],
            add_progbar=verbose > 0,
            model=model,
            epochs=options["maxiter"],
            steps=1,
            verbose=verbose,
        )
        model.stop_training = False
        self._told.on_train_begin()
        result = scipy.minimize(
            self._evaluate,
            self._objective.weights,
            jac=True,
            method="L-BFGS-B",
            callback=self._end_iteration,
            options=options,
        )
        self._objective.assign(result.x)
        if self._epoch == 0:
            # No step was made, and who asks the history finds where it began.
            with suppress(StopIteration):
                self._end_iteration(result)
        history.reason = self._reason(result, options)
        self._told.on_train_end()
        return history

    def _evaluate(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        if not self._has_begun and self._objective.evaluations:
            self._begin_iteration()
        loss, gradient = self._objective(flat)
        if self._objective.evaluations == 1:
            is_finite = bool(np.isfinite(loss) and np.all(np.isfinite(gradient)))
            require(is_finite, "model", loss, "one with a finite loss and gradient")
            self._begin_iteration()
            self._base = flat.copy(), loss, gradient
        if not (np.isfinite(loss) and np.all(np.isfinite(gradient))):
            return self._wall(flat)
        self._gradients[flat.tobytes()] = gradient
        return loss, gradient

    def _wall(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """What makes the search try a shorter step, where it can compute nothing."""
        start, loss, gradient = self._base
        # Interpolated between this and the start, it is a sixth of the step.
        return loss + 2 * abs(float(gradient @ (flat - start))), -gradient

    def _begin_iteration(self) -> None:
        self._has_begun = True
        self._gradients.clear()
        self._told.on_epoch_begin(self._epoch)
        self._told.on_train_batch_begin(0)

    def _end_iteration(self, intermediate_result: "OptimizeResult") -> None:
        """Is called by SciPy, which looks at the name of the argument."""
        flat, loss = intermediate_result.x, float(intermediate_result.fun)
        self._objective.assign(flat)
        gradient = self._gradients[flat.tobytes()]
        self._base = flat.copy(), loss, gradient
        largest = float(np.abs(gradient).max())
        measured: Record = {"loss": loss, "largest_gradient": largest}
        measured["evaluations"] = self._objective.evaluations
        self._told.on_train_batch_end(0, measured)
        if self._validation is not None:
            found = _evaluated(self._model, self._validation)
            measured |= {f"val_{name}": value for name, value in found.items()}
        self._told.on_epoch_end(self._epoch, measured)
        self._epoch += 1
        self._has_begun = False
        if self._model.stop_training:
            raise StopIteration

    def _reason(self, result: "OptimizeResult", options: Record) -> str:
        largest = float(np.abs(result.jac).max())
        if self._model.stop_training:
            return "A callback has stopped it."
        if largest <= options["gtol"]:
            return f"No entry of the gradient is larger than {options['gtol']:g}."
        if result.nit >= options["maxiter"]:
            return f"It has made {result.nit} iterations."
        if result.status == 0:
            return f"A step lowered the loss by no more than {options['ftol']:g} of it."
        reason = (
            "The line search found no lower loss, as happens when rounding hides it; "
            f"the largest entry of the gradient is {largest:.3g}."
        )
        if result.nit == 0:
            warnings.warn(f"fit_lbfgs has made no step. {reason}", stacklevel=4)
        return reason


def _fixed(x: Data, y: Data, sample_weight: Data, batch_size: int) -> FixedData:
    if isinstance(x, tf.data.Dataset | keras.utils.PyDataset):
        hint = "The dataset yields them."
        require(y is None, "y", y, "None with a dataset", hint)
        rule = "None with a dataset"
        require(sample_weight is None, "sample_weight", sample_weight, rule, hint)
        return FixedData(x, name="x")
    fixed = FixedData((x, None), name="x")
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        leaves = [] if value is None else keras.tree.flatten(value)
        rows = [np.shape(a)[0] if np.ndim(a) > 0 else 0 for a in leaves]
        kinds = {np.asarray(a).dtype.kind for a in leaves}
        fits = set(rows) <= {fixed.num_rows} and kinds <= set("biufV")
        fits = fits and (value is None or bool(leaves))
        require(fits, name, value, f"numbers in {fixed.num_rows} rows, those of x")
    return FixedData((x, y, sample_weight), batch_size=batch_size, name="x")


def _checked_callbacks(
    callbacks: Sequence[keras.callbacks.Callback],
) -> list[keras.callbacks.Callback]:
    valid = isinstance(callbacks, list | tuple) and all(
        isinstance(c, keras.callbacks.Callback) for c in callbacks
    )
    require(valid, "callbacks", callbacks, "a list of callbacks")
    names = [type(c).__name__ for c in callbacks if isinstance(c, ScopedCallback)]
    hint = "There is no step here, no optimizer and no gradient of a batch."
    require(not names, "callbacks", names, "such as change nothing in the step", hint)
    return list(callbacks)


def _prepare(model: keras.Model, data: FixedData) -> None:
    require(model.compiled, "model", type(model).__name__, "a model that is compiled")
    family = optimizer_family(model.optimizer) if model.optimizer is not None else []
    turning = [type(m).__name__ for m in family if isinstance(m, ShownWeights)]
    hint = "It is not used here. Compile the model with another one."
    rule = "one that leaves the weights alone when the model is evaluated"
    require(not turning, "model.optimizer", turning, rule, hint)
    if not model.built:
        x, _, _ = next(iter(data))
        called(model, x, training=False)
    bound = [v.path for v in model.trainable_variables if v.constraint is not None]
    rule = "none, which the search knows nothing of"
    require(not bound, "weights with a constraint", bound, rule)
    # Not used, but saved with the model, and Keras loads no file of an unbuilt one.
    build_optimizer(model)


def _evaluated(model: keras.Model, data: Data) -> dict[str, float]:
    if isinstance(data, tuple | list):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(tuple(data))
        return model.evaluate(
            x, y, sample_weight=sample_weight, verbose=0, return_dict=True
        )
    return model.evaluate(data, verbose=0, return_dict=True)
