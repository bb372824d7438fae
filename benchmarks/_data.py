"""The data that benchmarks and studies share."""

import gzip
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


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


def train_validation_test(x, y):
    """Three parts, 9 : 3 : 4, always the same."""
    x, x_test, y, y_test = train_test_split(x, y, random_state=0)
    x, x_validation, y, y_validation = train_test_split(x, y, random_state=0)
    return (x, y), (x_validation, y_validation), (x_test, y_test)


def train_control_test(x, y, rows, seed):
    """So many rows to train, 250 to control the training, and the rest to test."""
    x, x_rest, y, y_rest = train_test_split(
        x, y, train_size=rows, stratify=y, random_state=seed
    )
    x_control, x_test, y_control, y_test = train_test_split(
        x_rest, y_rest, train_size=250, stratify=y_rest, random_state=seed
    )
    return (x, y), (x_control, y_control), (x_test, y_test)
