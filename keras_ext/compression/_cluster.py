"""Gives weights few different values."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_ext._core._checks import checked_seed, choice, flag, integer
from keras_ext._core._progress import Progress
from keras_ext._core._typing import Pattern
from keras_ext.compression._pruned_weights import candidates
from keras_ext.compression._pruning_report import PruningReport, report_on

_MOST_ITERATIONS = 100


def cluster(
    model: keras.Model,
    k: int,
    *,
    preserve_sparsity: bool = False,
    init: str = "kmeans++",
    include: Pattern = None,
    exclude: Pattern = None,
    seed: int | None = None,
) -> PruningReport:
    """Replaces the entries of each weight by `k` values, the means of clusters.

    gzip compresses a file of such a model well, and 16 values need 4 bits each.
    Fine-tune it afterwards with `KeepClusters`, which moves the values and keeps equal
    entries equal. Each weight is clustered on its own, by k-means.

    Args:
        model: A built model; its weights are changed.
        k: Integer in [2, 256], how many values a weight has afterwards.
        preserve_sparsity: Whether entries that are zero stay so, as one of the `k`
            values. Defaults to `False`.
        init: Where the clusters begin: `"kmeans++"` draws entries that are far apart,
            `"linear"` takes values at equal distances, `"density"` takes quantiles.
            Defaults to `"kmeans++"`.
        include: Which weights: a regular expression that is searched in the path, a
            list of them, or a function of the variable. None means kernels and
            embeddings that are not depthwise.
        exclude: Which are not, in the same form. None means none.
        seed: An integer for `"kmeans++"`, or None for 0.

    Returns:
        Every weight with its number of different `values`, and what was skipped.

    Raises:
        ValueError: If an argument is not of this form, or the model is not built or has
            no such weights.

    Examples:
        >>> import keras
        >>> import keras_ext as kx
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
        >>> report = kx.compression.cluster(model, 4)
        >>> [row.values for row in report.rows]
        [4]

    References:
        - [Han et al., 2016](https://arxiv.org/abs/1510.00149) (Deep Compression)
    """
    k = integer(k, "k", low=2, high=256)
    preserve_sparsity = flag(preserve_sparsity, "preserve_sparsity")
    choice(init, "init", ("kmeans++", "linear", "density"))
    rng = np.random.default_rng(checked_seed(seed) or 0)
    found = candidates(model, include, exclude, lambda variable: None)
    means = _Means(k, init, rng)
    chosen = [c.variable for c in found if c.reason is None]
    progress = Progress(shorter="A smaller `k` makes it shorter.")
    for done, variable in enumerate(chosen, start=1):
        values = keras.ops.convert_to_numpy(variable).astype("float64")
        variable.assign(_clustered(values, means, preserve_sparsity))
        progress(done, len(chosen))
    return report_on(found)


@dataclass
class _Means:
    """How clusters are found."""

    k: int
    init: str
    rng: np.random.Generator

    def of(self, values: np.ndarray, k: int) -> np.ndarray:
        """The means of `k` clusters of a vector, in their order."""
        distinct = np.unique(values)
        if len(distinct) <= k:
            return distinct
        centers = np.sort(self._first(values, distinct, k))
        for _ in range(_MOST_ITERATIONS):
            which = _nearest(values, centers)
            sums = np.bincount(which, values, minlength=k)
            counts = np.bincount(which, minlength=k)
            # A cluster that has lost all its entries stays where it is.
            new = np.where(counts > 0, sums / np.maximum(counts, 1), centers)
            if np.array_equal(new, centers):
                break
            # `_nearest` needs an order, and others may pass a cluster that stays.
            centers = np.sort(new)
        return centers

    def _first(self, values: np.ndarray, distinct: np.ndarray, k: int) -> np.ndarray:
        if self.init == "linear":
            return np.linspace(distinct[0], distinct[-1], k)
        if self.init == "density":
            shares = (np.arange(k) + 0.5) / k
            centers = np.unique(np.quantile(values, shares))
            # A value that is frequent is several quantiles at once.
            return centers if len(centers) == k else np.quantile(distinct, shares)
        drawn = [self.rng.choice(values)]
        distances = np.full(len(values), np.inf)
        for _ in range(k - 1):
            # By the squared distance to the nearest center so far, as k-means++ draws.
            # More than k values differ, so that some distance is left to divide by.
            distances = np.minimum(distances, (values - drawn[-1]) ** 2)
            share = distances / distances.sum()
            drawn.append(self.rng.choice(values, p=share))
        return np.array(drawn)


def _clustered(
    values: np.ndarray, means: _Means, preserve_sparsity: bool
) -> np.ndarray:
    """The values, each as the mean of its cluster."""
    result = np.zeros_like(values)
    zero = values == 0
    keeps = preserve_sparsity and bool(zero.any())
    chosen = ~zero if keeps else np.ones_like(zero)
    if chosen.any():
        # Zero is one of the `k`.
        centers = means.of(values[chosen], means.k - keeps)
        result[chosen] = centers[_nearest(values[chosen], centers)]
    return result


def _nearest(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The number of the nearest one of sorted centers."""
    # On a line the border of two clusters is in the middle of their centers.
    return np.asarray(np.searchsorted((centers[1:] + centers[:-1]) / 2, values))
