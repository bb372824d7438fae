"""Which kinds of layers give in a `.tflite` file what they give in Keras?

Each of the models of the bridge to tf_keras (`tests/bridge/tfmot_models.py`), and one
for each further kind of layer, gets random weights and is written by `to_litert` in
floats. The file is run on 64 rows and compared.

Printed: for each kind the largest difference, as a share of the largest output if that
is above 1; and in the end which kinds differ by more than 1e-5, or are not written, and
why.

Run: `python benchmarks/litert_kinds.py [--only WORD]`
"""

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx
from tests.bridge.tfmot_models import MODELS, image, inputs_for, rows, sequence, tokens

L = keras.layers
MOST = 1e-5


def blocks(*stack):
    return image(*stack, shape=(4, 4, 4, 2))


def grouped():
    inputs = keras.Input((5, 8))
    return keras.Model(inputs, L.GroupQueryAttention(4, 4, 2)(inputs, inputs))


def augmented():
    changes = [kind(0.1) for kind in (L.RandomRotation, L.RandomZoom, L.RandomContrast)]
    return image(L.RandomFlip(), *changes, L.RandomBrightness(0.1), L.RandomCrop(8, 8))


KINDS = {
    **MODELS,
    "Conv3DTranspose": lambda: blocks(L.Conv3DTranspose(2, 2)),
    "MaxPooling3D": lambda: blocks(L.MaxPooling3D(2)),
    "AveragePooling3D": lambda: blocks(L.AveragePooling3D(2)),
    "GlobalAveragePooling3D": lambda: blocks(L.GlobalAveragePooling3D()),
    "UpSampling3D": lambda: blocks(L.UpSampling3D(2)),
    "ZeroPadding3D": lambda: blocks(L.ZeroPadding3D(1), L.Cropping3D(1)),
    "RMSNormalization": lambda: rows(L.RMSNormalization()),
    "SpectralNormalization": lambda: rows(L.SpectralNormalization(L.Dense(3))),
    "GroupQueryAttention": grouped,
    "AdaptiveAveragePooling2D": lambda: image(L.AdaptiveAveragePooling2D(2)),
    "AdaptiveMaxPooling1D": lambda: sequence(L.AdaptiveMaxPooling1D(2)),
    "ConvLSTM1D": lambda: image(L.ConvLSTM1D(2, 2), shape=(3, 4, 2)),
    "ConvLSTM3D": lambda: image(L.ConvLSTM3D(2, 2), shape=(3, 4, 4, 4, 2)),
    "RNN of cells": lambda: sequence(L.RNN([L.GRUCell(3), L.LSTMCell(2)])),
    "CategoryEncoding": lambda: tokens(L.CategoryEncoding(9)),
    "Discretization": lambda: rows(L.Discretization([0.0, 1.0])),
    "Hashing": lambda: tokens(L.Hashing(3)),
    "random images": augmented,
    "CenterCrop": lambda: image(L.CenterCrop(4, 4)),
    "Solarization": lambda: image(L.Solarization()),
    "MelSpectrogram": lambda: image(L.MelSpectrogram(), shape=(4000,)),
    "STFTSpectrogram": lambda: image(L.STFTSpectrogram(), shape=(2000, 1)),
    "Conv1D same": lambda: sequence(L.Conv1D(3, 2, padding="same", strides=2)),
    "Permute": lambda: sequence(L.Permute((2, 1))),
    "UpSampling1D": lambda: sequence(L.UpSampling1D(2), L.Cropping1D(1)),
}


def difference(make, path):
    """The largest one between a file and the model, with random weights."""
    keras.utils.set_random_seed(0)
    model = make()
    rng = np.random.default_rng(0)
    for v in model.weights:
        if "float" in v.dtype:
            # Variances are above zero.
            noise = rng.normal(size=v.shape) * 0.1
            v.assign(np.abs(keras.ops.convert_to_numpy(v) + noise))
    report = kx.compression.to_litert(model, path)
    outputs = keras.tree.flatten(model(inputs_for(model)))
    largest = max(float(np.max(np.abs(np.array(y)))) for y in outputs)
    return report.max_difference / max(1.0, largest)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="kinds with this in their name")
    only = parser.parse_args().only
    different = []
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in KINDS.items():
            if only not in kind:
                continue
            count += 1
            try:
                found = difference(make, Path(folder, "m.tflite"))
            except Exception as error:
                lines = str(error).strip().splitlines() or [""]
                different.append(f"{kind}: {type(error).__name__}, {lines[0][:200]}")
                continue
            print(f"{kind:28}{found:.1e}", flush=True)
            if found > MOST:
                different.append(f"{kind}: {found:.1e}")
    print(f"{count - len(different)} of {count} kinds are the same to {MOST:g}; not:")
    print("\n".join(different))


if __name__ == "__main__":
    main()
