"""Smaller learning rates towards the input, in a `fit` whose compile stays."""

from collections.abc import Sequence

from keras_ext._core._checks import number, require
from keras_ext._engine._attached_pipeline import AttachedPipeline
from keras_ext.callbacks.gradients._gradient_callback import GradientCallback
from keras_ext.gradients import LayerwiseScale


class LayerwiseDecay(GradientCallback):
    """Lets each layer learn more slowly than the one after it (LLRD).

    The last layer has the learning rate of the optimizer, a number or a schedule, and
    every layer before it `decay` times that of the next. Use it to fine-tune a
    pretrained model: layers near the input are most general and should move least. For
    the duration of `fit` it puts a `keras_ext.gradients.LayerwiseScale` around the
    optimizer. So it works with any optimizer, including Adam, and scales weight decay,
    too.

    Logs `nonfinite_steps`, the updates left out so far.

    Args:
        decay: Number in (0, 1], the ratio of a learning rate to that of the next layer.
            Defaults to `0.8`.
        layers: List of regular expressions, from the input to the output, that say what
            a layer is, such as `["embedding", "block_0", "block_1", "head"]`. None
            means the layers of the model in their order, those without a kernel with
            the one before.
        nonfinite: `"skip"` to leave out updates whose gradient is NaN or infinite,
            `"raise"` to also end the training, `"recover"` to go back to good weights,
            see `GradientCallback`. Defaults to `"skip"`.

    Raises:
        ValueError: If an argument is not of this form, or, when training begins, if the
            model is not built, or an expression fits none of its weights.
        FloatingPointError: With `nonfinite="raise"`, if a gradient was not finite.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> layers = [keras.layers.Dense(1, use_bias=False) for _ in range(3)]
        >>> model = keras.Sequential([keras.Input((1,)), *layers])
        >>> model.compile(keras.optimizers.Adam(0.1), "mse")
        >>> before = model.get_weights()
        >>> slower = kx.callbacks.LayerwiseDecay(0.5)
        >>> x = 9 * np.ones((4, 1))
        >>> history = model.fit(x, x, callbacks=[slower], verbose=0)
        >>> moved = [a - b for a, b in zip(before, model.get_weights())]
        >>> [round(abs(move).item(), 3) for move in moved]  # Adam: by the rate itself
        [0.025, 0.05, 0.1]

    References:
        - [Howard and Ruder, 2018](https://arxiv.org/abs/1801.06146)
        - [Clark et al., 2020](https://arxiv.org/abs/2003.10555)
    """

    compiled = frozenset({"decay", "layers"})

    def __init__(
        self,
        decay: float = 0.8,
        *,
        layers: Sequence[str] | None = None,
        nonfinite: str = "skip",
    ) -> None:
        super().__init__(nonfinite=nonfinite)
        self.decay = number(decay, "decay", above=0, high=1)
        if layers is not None:
            valid = isinstance(layers, list | tuple) and len(layers) > 0
            valid = valid and all(isinstance(layer, str) for layer in layers)
            require(valid, "layers", layers, "a list of regular expressions or None")
        self.layers = layers

    def install(self, pipeline: AttachedPipeline) -> None:
        hint = "Give it an input shape, or call it once."
        require(self.model.built, "model.built", False, "True", hint)
        of = self.model if self.layers is None else self.layers
        pipeline.add_transform(LayerwiseScale.by_depth(of, self.decay))
