"""Makes the hyperparameters of a model that exists live."""

import keras

from keras_ext._core._checks import require
from keras_ext._core._pattern import check_pattern, is_selected
from keras_ext._core._typing import Pattern
from keras_ext._live._find_hyperparameters import find_hyperparameters
from keras_ext._live._hyper_variable import HyperVariable


def make_live(
    model: keras.Model, *, include: Pattern = None, exclude: Pattern = None
) -> dict[str, HyperVariable]:
    """Lets the hyperparameters of an existing model change during training.

    Keras compiles them into the training step as constants. This puts a `HyperVariable`
    behind each of them, without rebuilding the model: assign one in a callback, and the
    next step of a running `fit` uses it, without a retrace, with `jit_compile=True`,
    and on all replicas. From then on, `layer.rate = 0.5` does the same. It finds, also
    in nested models:

    - the rates of `Dropout`, `SpatialDropout`, `GaussianDropout`, `AlphaDropout`, the
      deviation of `GaussianNoise`, and dropout in attention and recurrent layers, also
      where they are 0 (except `recurrent_dropout`, which chooses the kernel);
    - the strengths of the regularizers `L1`, `L2`, `L1L2` and `OrthogonalRegularizer`,
      for kernels, biases and activities;
    - the momentum of `BatchNormalization`;
    - `weight_decay`, if it is not None, the betas, and momentum, if it is not 0, of
      Keras's optimizers. (The learning rate is a variable already.)
    - `label_smoothing` of loss objects, and `loss_weights`, if `compile` was given any.

    Nothing else changes: after a change, training continues as if the model had been
    built with the new values. Keras's layers still drop the same places on all replicas
    of a distribution strategy; those of `keras_ext.layers` do not.

    Saving, cloning and `get_config` give the plain model with the present values. Call
    this after the model is built, and after `compile`, so that it finds the optimizer
    and the losses. Calling it again returns the same variables.

    Args:
        model: The model.
        include: Which hyperparameters: a regular expression that is searched in the
            path, a list of them, or a function of an object with `path`, `owner` and
            `value`. None means all.
        exclude: Which not, in the same form. None means none.

    Returns:
        A dictionary from path, such as `"block1/dropout/rate"`,
        `"dense/kernel_regularizer/l2"` or `"optimizer/weight_decay"`, to
        `HyperVariable`.

    Raises:
        ValueError: If an argument is not of this form.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dropout(0.0, name="dropout")]
        ... )
        >>> model.compile(keras.optimizers.AdamW(weight_decay=0.01), "mse")
        >>> live = kx.make_live(model, exclude="beta")
        >>> list(live)
        ['dropout/rate', 'optimizer/weight_decay']
        >>> live["dropout/rate"].assign(0.5)
        >>> model.get_layer("dropout").get_config()["rate"]
        0.5
    """
    check_pattern("include", include)
    check_pattern("exclude", exclude)
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    live: dict[str, HyperVariable] = {}
    for knob in find_hyperparameters(model):
        if is_selected(knob, include, exclude):
            made = live[knob.path] = knob.make_live(model)
            # What a callback has made live for the time of a `fit` stays so now.
            made.temporary = False
    # Makes `fit` trace the step anew, with the variables in it.
    model.train_function = None
    return live
