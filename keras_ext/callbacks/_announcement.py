"""Lines in which callbacks say what they have decided."""

import keras

from keras_ext._core._checks import integer
from keras_ext._core._lines import say
from keras_ext._fit._training_run import TrainingRun


def announce(callback: keras.callbacks.Callback, best_epoch: int | None = None) -> None:
    """Says at the end of training, in one line, who stopped it and why.

    As in Keras, the epochs are counted from 1, as the progress bar does. It is said
    also in a silent `fit`, since a training that ends too early makes its user search.

    Args:
        callback: Has `verbose`, `stopped_epoch` and `stopped_by`.
        best_epoch: The epoch whose weights were restored, counted from 0.
    """
    if not callback.verbose:
        return
    line = f"Epoch {callback.stopped_epoch + 1}: early stopping by "
    line += f"{type(callback).__name__}: {callback.stopped_by}."
    if best_epoch is not None:
        line += f" The weights of epoch {best_epoch + 1} are restored."
    say(line)


def tell(
    callback: keras.callbacks.Callback, decision: str, *, epoch: int | None = None
) -> None:
    """Says in one line what a callback has decided, unless it or `fit` is silent.

    Call it where the decision is on the host anyway. While an epoch ends, the line
    waits until the progress bar has shown its last numbers.

    Args:
        callback: Has `verbose`, unless it always speaks, `params` and `model`.
        decision: What was decided, without a full stop.
        epoch: The epoch in which it was, counted from 0; None if that says nothing.
    """
    if not getattr(callback, "verbose", 1) or not shows_progress(callback):
        return
    place = "" if epoch is None else f"Epoch {epoch + 1}: "
    line = f"{place}{type(callback).__name__}: {decision}."
    run = None if callback.model is None else TrainingRun.present(callback.model)
    if run is None:
        say(line)
    else:
        run.say(line)


def shows_progress(callback: keras.callbacks.Callback) -> bool:
    """Whether `fit` is not told to be silent; a loop without `fit` is not."""
    return bool((callback.params or {}).get("verbose", 1))


def verbosity(value: bool | int) -> int:
    """Returns `verbose`, checked; Keras takes True and False, too."""
    if isinstance(value, bool):
        return int(value)
    return integer(value, "verbose", low=0, high=1)
