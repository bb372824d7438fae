"""The data that benchmarks and studies share."""

import gzip
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def digits(shape=(64,)):
    """The digits of scikit-learn: 1,797 images of numbers from 0 to 1, and labels."""
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype("float32").reshape(-1, *shape), y


def mnist10k(folder, shape=(784,)):
    """The 10,000 test images of MNIST, numbers from 0 to 1, and labels.

    From the IDX files in the folder; if there are those of several sets, the first by
    name is taken.
    """
    images, labels = (
        read_idx(min(Path(folder).glob(pattern)))[:10000]
        for pattern in ("*images*", "*labels*")
    )
    return images.reshape(-1, *shape).astype("float32") / 255, labels


def read_idx(path):
    """Reads a gzipped IDX file of bytes."""
    raw = gzip.decompress(Path(path).read_bytes())
    ndim = raw[3]
    shape = np.frombuffer(raw, ">u4", ndim, offset=4)
    return np.frombuffer(raw, "u1", offset=4 + 4 * ndim).reshape(shape)
