"""Which measurements make a tumor look malignant to a network, and can that be trusted?

A small network learns the breast cancer data of scikit-learn. What it says of tumors
that it has not seen is explained by Shapley values, and by the two quick methods that
take gradients. Then the explanations are judged: with the measurements removed that
speak most for a malignant tumor, how fast does the output fall? The better the
explanation, the smaller the area under that curve.

Run: `python examples/explain_tabular.py [--quick]`

Prints the comparison with a verdict, and the measurements that matter most, and writes
`explain_tabular.png`.
"""

import argparse

import keras
import numpy as np

import keras_ext as kx


def load():
    """Standardized measurements, as a DataFrame, and whether a tumor is malignant."""
    from sklearn import datasets

    data = datasets.load_breast_cancer(as_frame=True)
    x = (data.data - data.data.mean()) / data.data.std()
    order = np.random.default_rng(0).permutation(len(x))
    return x.iloc[order].reset_index(drop=True), 1 - data.target.to_numpy()[order]


def train(x, y, epochs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((x.shape[1],)),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(16, "relu"),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy"]
    )
    model.fit(x.to_numpy(), y, epochs=epochs, verbose=0)
    return model


def compare(model, background, x, budgets):
    """Explains the log-odds by each method; returns the explanations."""
    found = {}
    for method, budget in budgets.items():
        explainer = kx.explain.Explainer(model, background, method=method, link="logit")
        found[method] = explainer(x, budget)
        area = kx.explain.metrics.deletion(found[method], explainer, x=x).area.mean()
        same = kx.explain.metrics.agreement(found["permutation"], found[method])
        print(
            f"{method:22}{found[method].compute_time:7.2f} s"
            f"{area:22.3f}{same['top_overlap'].mean():22.2f}"
        )
    return found


def verdict(found):
    """What the quickest method is worth, beside the Shapley values."""
    shapley = found["permutation"]
    others = {name: one for name, one in found.items() if one is not shapley}
    quick = min(others, key=lambda name: others[name].compute_time)
    same = kx.explain.metrics.agreement(shapley, others[quick])["top_overlap"].mean()
    share = others[quick].compute_time / shapley.compute_time
    print(
        f"\n{quick} names {same:.0%} of the five measurements that matter most by "
        f"Shapley values, in {share:.0%} of the time."
    )


def draw(explanation, path):
    import shap
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 5), layout="constrained")
    plt.sca(left)
    shap.plots.beeswarm(explanation, max_display=10, show=False, plot_size=None)
    left.set_xlabel("log-odds of malignant, against an ordinary tumor")
    left.set_title("All tumors")
    row = int(np.argmin(np.abs(explanation.values.sum(1) + explanation.base_values)))
    most = np.argsort(-np.abs(explanation.values[row]))[:10][::-1]
    values = explanation.values[row, most]
    right.barh(
        [explanation.feature_names[i] for i in most],
        values,
        xerr=2 * explanation.error_std[row, most],
        color=np.where(values > 0, "#ff0051", "#008bfb"),
        ecolor="#555555",
    )
    right.axvline(0, color="#999999", linewidth=0.8)
    right.set_xlabel("log-odds of malignant, with twice the standard error")
    right.set_title("The tumor that the network is least sure of")
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick

    x, y = load()
    train_rows, rest = 300, 20 if quick else 200
    model = train(x[:train_rows], y[:train_rows], epochs=20)
    _, accuracy = model.evaluate(x[train_rows:].to_numpy(), y[train_rows:], verbose=0)
    print(f"test accuracy {accuracy:.3f}\n")
    if accuracy < 0.8:
        raise SystemExit("It has not learned: there is nothing to explain.")
    background = x[: 10 if quick else 100]
    tumors = x[train_rows : train_rows + rest]
    print(f"{'':22}{'time':>9}{'area under deletion':>22}{'top 5 in common':>22}")
    budgets = {"permutation": "auto", "expected_gradients": "auto", "deep": "auto"}
    found = compare(model, background, tumors, budgets)
    verdict(found)

    explanation = found["permutation"]
    mean = np.abs(explanation.values).mean(axis=0)
    print("\nmean |log-odds| by measurement:")
    for i in np.argsort(-mean)[:5]:
        print(f"  {explanation.feature_names[i]:26}{mean[i]:.3f}")
    draw(explanation, "explain_tabular.png")
    print("\nThe tumors are in explain_tabular.png.")


if __name__ == "__main__":
    main()
