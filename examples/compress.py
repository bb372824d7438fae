"""From a trained network to a file for a phone that is ten times smaller.

A convnet learns the digits of scikit-learn. Then it is pruned while it trains on, made
aware of quantization while it keeps its zeros, and written as `.tflite` files, which
are run and compared. The table says what each step is worth.

Run: `python examples/compress.py [--quick]`

Prints what was pruned and the sizes, and writes `compress.html` and the files.
"""

import argparse

import keras
import numpy as np

import keras_ext as kx

BATCH = 64


def load():
    """Images of 8 x 8 pixels, and the digits, to train with and to test."""
    from sklearn import datasets

    data = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = data.images[order, ..., None].astype("float32") / 16, data.target[order]
    return (x[:-450], y[:-450]), (x[-450:], y[-450:])


def make_model():
    layers = keras.layers
    stack = [keras.Input((8, 8, 1))]
    for filters in (16, 32):
        stack += [
            layers.Conv2D(
                filters, 3, padding="same", use_bias=False, name=f"conv_{filters}"
            ),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]
    stack += [layers.Flatten(), layers.Dense(64, "relu", name="dense")]
    stack.append(layers.Dense(10, "softmax", name="last"))
    return keras.Sequential(stack)


def fit(model, data, epochs, rate, *callbacks):
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    callbacks = list(callbacks)
    model.fit(*data, batch_size=BATCH, epochs=epochs, callbacks=callbacks, verbose=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    quick = parser.parse_args().quick
    train, test = load()
    keras.utils.set_random_seed(0)
    model = make_model()
    fit(model, train, 3 if quick else 20, 2e-3)
    kx.compression.to_litert(model, "compress_float32.tflite")

    steps = -(-len(train[0]) // BATCH)
    epochs = 2 if quick else 10
    decay = kx.compression.PolynomialDecay(
        0.0, 0.9, begin_step=0, end_step=epochs * steps, frequency=steps
    )
    # Small layers, as the first and the last one, keep more of their weights.
    prune = kx.compression.Prune(decay, scope="adaptive")
    fit(model, train, epochs if quick else epochs + 5, 1e-3, prune)
    print(prune.report, "\n")

    aware = kx.compression.quantize_aware(model)
    fit(aware, train, 2 if quick else 5, 3e-4, kx.compression.KeepZeros())
    report = kx.compression.to_litert(aware, "compress_int8.tflite", mode="int8")
    print(f"int8 and Keras agree on {report.agreement:.1%} of random images\n")

    files = {
        "first file, float32": "compress_float32.tflite",
        "last file, int8": "compress_int8.tflite",
    }
    sizes = kx.compression.size_report(
        model, files=files, x=test[0], y=test[1], repeats=5 if quick else 50
    )
    print(sizes)
    sizes.save("compress.html", title="Digits on a phone")
    first, last = sizes.rows[1:]
    ratio = first.num_gzip_bytes / last.num_gzip_bytes
    lost = 100 * (first.accuracy - last.accuracy)
    print(f"\nA download of {ratio:.0f} times fewer bytes, for {lost:.1f} points less.")


if __name__ == "__main__":
    main()
