"""Puts thin layers in the place of one whose kernel has a low rank."""

from dataclasses import dataclass, field

import keras
import numpy as np

from keras_ext._anatomy._inlined import as_graph
from keras_ext._core._checks import choice, number, require
from keras_ext._core._pattern import check_pattern, is_selected, require_some
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Config, Layer, Pattern, Tensor
from keras_ext._keras._functional import is_graph

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_KINDS = (keras.layers.Dense, *_CONVOLUTIONS)


def low_rank(
    model: keras.Model,
    *,
    energy: float = 0.9,
    method: str = "svd",
    include: Pattern = None,
    exclude: Pattern = None,
) -> tuple[keras.Model, dict[str, int | tuple[int, ...] | str]]:
    """Returns a copy of a model with fewer parameters, by singular values.

    The kernel of a `Dense` layer is replaced by the best product of two thin kernels of
    a given rank: a layer with as many units as the rank, and one with the old layer's
    units, bias and activation. For a convolution, the first layer has the window, and
    the second a window of one. The rank is the smallest that keeps a share of the
    energy, the sum of the squared singular values. A layer stays as it is if that would
    not save parameters.

    The copy is faster on any hardware, not only where zeros are exploited. Fine-tune
    it; its regularizers are then those of both thin kernels.

    Args:
        model: A built `Sequential` or functional model. Models inside of it are copied
            as they are.
        energy: Number in (0, 1], the share of the energy that is left. Defaults to
            `0.9`.
        method: `"svd"` for two layers; `"tucker"` for three in the place of a
            convolution: a window of one that makes few channels, the window between
            few channels, and a window of one that makes the old channels. Large windows
            with many channels take fewer parameters so. Of `Dense` layers and windows
            of one it makes two. Defaults to `"svd"`.
        include: Which layers: a regular expression that is searched in the name, a
            list of them, or a function of the layer. None means all `Dense` and
            ordinary convolutions.
        exclude: Which are not, in the same form. None means none.

    Returns:
        The copy, which is not compiled, and a dictionary from the names of the layers
        that were looked at to their ranks, two of them for three layers, or to the
        reason why one was left alone.

    Raises:
        ValueError: If an argument is not of this form, or no layer is left.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> dense = keras.layers.Dense(64, name="wide")
        >>> model = keras.Sequential([keras.Input((64,)), dense])
        >>> small, ranks = kx.compression.low_rank(model, energy=0.5)
        >>> ranks["wide"] < 32, small.count_params() < model.count_params()
        (True, True)

    References:
        - [Denton et al., 2014](https://arxiv.org/abs/1404.0736)
        - [Kim et al., 2015](https://arxiv.org/abs/1511.06530) (Tucker)
    """
    energy = number(energy, "energy", above=0, high=1)
    choice(method, "method", ("svd", "tucker"))
    check_pattern("include", include)
    check_pattern("exclude", exclude)
    require(isinstance(model, keras.Model), "model", model, "a keras.Model")
    rule = "a built Sequential or functional model"
    require(model.built and is_graph(model), "model", model.name, rule)
    kinds = [layer for layer in model.layers if type(layer) in _KINDS]
    names = [layer.name for layer in kinds]
    chosen = [x for x in kinds if is_selected(x, include, exclude, x.name)]
    require_some(chosen, include, exclude, what="layer", paths=names)
    found, progress = {}, Progress(shorter="")
    for done, layer in enumerate(chosen, start=1):
        found[layer.name] = _factors(layer, energy, method)
        progress(done, len(chosen))
    pairs = {name: f for name, f in found.items() if isinstance(f, _Factors)}
    report = {
        name: f.rank if isinstance(f, _Factors) else f for name, f in found.items()
    }
    return _rebuilt(model, pairs), report


@dataclass
class _Factors:
    """Two kernels or three whose product is about that of a layer."""

    kernels: list[np.ndarray]
    # Of the thin layers.
    names: list[str] = field(default_factory=list)

    @property
    def rank(self) -> int | tuple[int, ...]:
        """How many channels there are between the layers."""
        ranks = tuple(int(kernel.shape[-1]) for kernel in self.kernels[:-1])
        return ranks[0] if len(ranks) == 1 else ranks


def _factors(layer: Layer, energy: float, method: str) -> _Factors | str:
    """The kernels, or the reason why a layer is left alone."""
    if layer.kernel_constraint is not None:
        return "its kernel has a constraint"
    if getattr(layer, "groups", 1) != 1:
        return "it has groups"
    if getattr(layer, "data_format", "") == "channels_first":
        return "its channels come first"
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
    has_window = kernel.ndim > 2 and max(kernel.shape[:-2]) > 1
    make = _tucker if method == "tucker" and has_window else _singular_values
    factors = _Factors(make(kernel, energy))
    if sum(k.size for k in factors.kernels) >= kernel.size:
        return f"its rank of {factors.rank} would take as many parameters"
    return factors


def _singular_values(kernel: np.ndarray, energy: float) -> list[np.ndarray]:
    matrix = kernel.reshape(-1, kernel.shape[-1])
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    rank = _rank(values, energy)
    # Halves of equal norms, which training finds easiest.
    roots = np.sqrt(values[:rank])
    first = (left[:, :rank] * roots).reshape(*kernel.shape[:-1], rank)
    second = roots[:, None] * right[:rank]
    return [first, second.reshape(*_ones(kernel), *second.shape)]


def _tucker(kernel: np.ndarray, energy: float) -> list[np.ndarray]:
    """The channels that come in and those that go out, each in their own basis."""
    # Half of what may be lost in each: together it is no more than both.
    each = 1.0 - (1.0 - energy) / 2
    bases = []
    for axis in (-2, -1):
        unfolded = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
        left, values, _ = np.linalg.svd(unfolded, full_matrices=False)
        bases.append(left[:, : _rank(values, each)])
    into, out = bases
    # The bases are orthonormal, so that their transposes project.
    core = np.einsum("...io,ir,os->...rs", kernel, into, out)
    ones = _ones(kernel)
    return [into.reshape(*ones, *into.shape), core, out.T.reshape(*ones, *out.T.shape)]


def _rank(values: np.ndarray, energy: float) -> int:
    """The smallest that leaves a share of the squares."""
    energies = np.cumsum(np.square(values))
    # What rounding leaves of the whole is not worth a rank.
    enough = energies >= (energy - 1e-12) * energies[-1]
    return int(np.argmax(enough)) + 1


def _ones(kernel: np.ndarray) -> tuple[int, ...]:
    return (1,) * (kernel.ndim - 2)


def _rebuilt(model: keras.Model, pairs: dict[str, _Factors]) -> keras.Model:
    # A Sequential model has no calls to put something between.
    graph = as_graph(model)
    taken = {layer.name for layer in graph.layers}
    for name, factors in pairs.items():
        factors.names = _names(name, len(factors.kernels), taken)
        taken.update(factors.names)
    later: dict[str, list[Layer]] = {}

    def copied(layer: Layer) -> Layer:
        if layer.name not in pairs:
            return type(layer).from_config(layer.get_config())
        configs = _configs(layer, pairs[layer.name])
        first, *others = map(type(layer).from_config, configs)
        later[first.name] = others
        return first

    def called(layer: Layer, *args: object, **kwargs: object) -> Tensor:
        output = layer(*args, **kwargs)
        for other in later.get(layer.name, []):
            output = other(output)
        return output

    made = keras.models.clone_model(graph, clone_function=copied, call_function=called)
    _take_over(made, graph, pairs)
    return made


def _take_over(
    made: keras.Model, graph: keras.Model, pairs: dict[str, _Factors]
) -> None:
    """Copies the weights, those of kernels as their factors."""
    for layer in graph.layers:
        if layer.name in pairs:
            factors = pairs[layer.name]
            for name, kernel in zip(factors.names, factors.kernels, strict=True):
                made.get_layer(name).kernel.assign(kernel)
            if layer.use_bias:
                made.get_layer(layer.name).bias.assign(layer.bias)
        elif layer.weights:
            made.get_layer(layer.name).set_weights(layer.get_weights())


def _names(name: str, count: int, taken: set[str]) -> list[str]:
    """The names of the thin layers of one; those before the last are new."""
    names = [f"{name}_{ending}" for ending in ("low", "core")[: count - 1]]
    # Of a layer that a call before has made, `_low` is there already.
    while not taken.isdisjoint(names):
        names = [f"{own}_low" for own in names]
    # The last one keeps the name, with the bias and the activation.
    return [*names, name]


def _configs(layer: Layer, factors: _Factors) -> list[Config]:
    """What the thin layers are made from."""
    size = "units" if isinstance(layer, keras.layers.Dense) else "filters"
    # The window, and what goes with it, is that of one of them.
    kernels = factors.kernels
    windowed = 1 if len(kernels) == 3 else 0
    configs = []
    for i, (name, kernel) in enumerate(zip(factors.names, kernels, strict=True)):
        config = layer.get_config() | {"name": name}
        if i < len(kernels) - 1:
            config |= {size: kernel.shape[-1], "use_bias": False}
            config |= {"activation": "linear", "activity_regularizer": None}
        if i != windowed and size == "filters":
            config |= {"kernel_size": 1, "strides": 1, "dilation_rate": 1}
        configs.append(config)
    return configs
