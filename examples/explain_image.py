"""Which pixels make a network take one digit for another?

A convnet learns the digits of scikit-learn. Those of the test images that it is least
sure of are explained by Shapley values: for the digit that it takes them for and for
the second guess, red pixels speak for it and blue ones against. Then several methods
are judged by insertion: pixels are added to an ordinary image, the most important ones
first; the better the method, the sooner the probability rises, and the larger the area.

Run: `python examples/explain_image.py [--quick]`

Prints the areas with a verdict, and writes `explain_image.png`.
"""

import argparse

import keras
import numpy as np

import keras_ext as kx


def load():
    """Images of 8 x 8 pixels, and the digits."""
    from sklearn import datasets

    data = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return data.images[order, ..., None].astype("float32") / 16, data.target[order]


def train(x, y, epochs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(2e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(x, y, epochs=epochs, verbose=0)
    return model


def judge(model, background, x, methods):
    """The mean area under the insertion curve by each method, and at random."""
    areas = {}
    for method, groups in methods.items():
        name = method if groups is None else f"{method}, squares"
        explainer = kx.explain.Explainer(
            model, background, method=method, outputs="top", groups=groups
        )
        found = explainer(x)
        areas[name] = kx.explain.metrics.insertion(found, explainer, x=x).area.mean()
        print(f"{name:28}{found.compute_time:8.2f} s{areas[name]:12.3f}")
    rng = np.random.default_rng(0)
    explainer = kx.explain.Explainer(model, background, method="deep", outputs="top")
    found = explainer(x)
    found.values = rng.normal(size=found.values.shape)
    chance = kx.explain.metrics.insertion(found, explainer, x=x).area.mean()
    print(f"{'at random':28}{'':10}{chance:12.3f}")
    better = [name for name, area in areas.items() if area > chance]
    apart = max(areas.values()) - min(areas.values())
    print(
        f"\n{len(better)} of {len(areas)} methods find the pixels better than chance, "
        f"by up to {max(areas.values()) - chance:.2f}; they are {apart:.2f} apart."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick

    x, y = load()
    model = train(x[:1200], y[:1200], epochs=6 if quick else 15)
    test, labels = x[1200:], y[1200:]
    _, accuracy = model.evaluate(test, labels, verbose=0)
    print(f"test accuracy {accuracy:.3f}\n")
    if accuracy < 0.8:
        raise SystemExit("It has not learned: there is nothing to explain.")
    background = x[: 5 if quick else 60]

    explainer = kx.explain.Explainer(model, background, outputs=("top", 2))
    surest = np.sort(model.predict(test, verbose=0), axis=1)
    unsure = np.argsort(surest[:, -1] - surest[:, -2])[: 2 if quick else 5]
    explanation = explainer(test[unsure])
    titles = [f"labeled {digit}" for digit in labels[unsure]]
    figure = kx.explain.plots.image_grid(explanation, titles=titles)
    figure.savefig("explain_image.png", dpi=110)

    print(f"{'':28}{'time':>10}{'area':>12}")
    squares = kx.explain.groups.grid((8, 8, 1), 2)
    methods = {
        "permutation": None,
        "expected_gradients": None,
        "deep": None,
        "owen": squares,
    }
    judge(model, background, test[: 2 if quick else 20], methods)
    print("The digits are in explain_image.png.")


if __name__ == "__main__":
    main()
