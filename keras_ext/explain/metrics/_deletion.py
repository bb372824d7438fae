"""How fast an output falls when what it is said to rest on is taken away."""

from keras_ext._core._typing import Data, Explanation
from keras_ext.explain._explainer import Explainer
from keras_ext.explain.metrics._curve import Curve, curve_of


def deletion(
    explanation: Explanation,
    explainer: Explainer,
    *,
    x: Data,
    steps: int = 50,
    background: Data = None,
) -> Curve:
    """Removes the players one after the other, that with the highest value first.

    What is removed is replaced by the background, over whose rows the output is the
    mean. If the values are right, the output falls fast, and the area is *small*.
    Compare areas of several explanations of the same rows; alone they say little.

    Args:
        explanation: A `shap.Explanation` by any method, or an array of values.
        explainer: An explainer of the same model, outputs and groups.
        x: The explained rows, as the model takes them.
        steps: Integer >= 1, into how many parts the players are divided at most.
            Each takes one evaluation for each row of the background. Defaults to `50`.
        background: Rows to replace with, such as one black image. None takes the
            background of the explainer.

    Returns:
        A `Curve`, from the output for the row to the mean over the background.

    Raises:
        ValueError: If an argument is not of this form, or the explanation is not of
            these rows, players and outputs.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[1.0], [3.0], [2.0]]), np.zeros(1)])
        >>> explainer = kx.explain.Explainer(model, background=np.zeros((1, 3)))
        >>> x = np.ones((1, 3))
        >>> curve = kx.explain.metrics.deletion(explainer(x), explainer, x=x)
        >>> print(curve.outputs, curve.area.round(2))
        [[6. 3. 1. 0.]] [2.33]

    References:
        - [Petsiuk et al., 2018](https://arxiv.org/abs/1806.07421)
    """
    return curve_of(explanation, explainer, x, steps, background, inserted=False)
