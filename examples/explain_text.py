"""Does a network that reads reviews know what "not" means?

Reviews are made by a small grammar: "the plot was not good but the cast was great". The
label says whether the last word is praise or blame, and "not" turns the word after it
around. A recurrent network learns them; its answers to reviews that differ by a single
word are explained by Shapley values of the words. If the network has understood,
"not" speaks for a bad review before "good", and for a good one before "awful".

Run: `python examples/explain_text.py [--quick]`

Prints what "not" contributes before words of praise and of blame, and a verdict, and
writes `explain_text.png` and `explain_text.html`.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import keras_ext as kx

PRAISE = ["good", "great", "brilliant", "lovely"]
BLAME = ["bad", "awful", "boring", "dull"]
SUBJECTS = ["plot", "cast", "music", "ending"]
WORDS = ["", "the", "was", "and", "but", "not", *SUBJECTS, *PRAISE, *BLAME]
LENGTH = 11  # two sentences of five words, and what joins them


def sentence(rng):
    """Words, and 1 or -1 for praise or blame."""
    is_praise, is_turned = rng.random(2) < 0.5
    words = ["the", rng.choice(SUBJECTS), "was"]
    words += ["not"] * int(is_turned)
    words += [rng.choice(PRAISE if is_praise else BLAME)]
    return words, 1 if is_praise != is_turned else -1


def make_reviews(count, seed):
    """Tokens, padded with 0, and whether each review is a good one."""
    rng = np.random.default_rng(seed)
    tokens, labels = np.zeros((count, LENGTH), "int32"), np.zeros(count, "int32")
    for row in range(count):
        (first, one), (second, two) = sentence(rng), sentence(rng)
        # The last word counts where the two disagree.
        tokens[row] = encode([*first, "and" if one == two else "but", *second])
        labels[row] = two == 1
    return tokens, labels


def encode(words):
    padded = [*words, *[""] * (LENGTH - len(words))]
    return [WORDS.index(word) for word in padded]


def train(x, y, epochs):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(len(WORDS), 8),
            keras.layers.GRU(24),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(1e-2), "binary_crossentropy", metrics=["accuracy"]
    )
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    return model


def draw(explanation, reviews, path):
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        len(reviews), 1, figsize=(9, 1.7 * len(reviews)), layout="constrained"
    )
    most = 1.15 * np.abs(explanation.values).max()
    for axis, values, base, review in zip(
        axes, explanation.values, explanation.base_values, reviews, strict=True
    ):
        words, count = review.split(), len(review.split())
        colors = np.where(values[:count] > 0, "#ff0051", "#008bfb")
        axis.bar(range(count), values[:count], color=colors, width=0.7)
        axis.axhline(0, color="#999999", linewidth=0.8)
        axis.set_xticks(range(count), words)
        axis.set_ylim(-most, most)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.tick_params(axis="x", length=0)
        odds = base + values.sum()
        axis.set_title(
            f"log-odds of a good review: {odds:+.1f}", fontsize=9, loc="left"
        )
    figure.savefig(path, dpi=110)


def judge(model, background, some):
    """What "not" contributes before words of praise and of blame, and what it shows."""
    # All coalitions of so many reviews would take minutes.
    sampled = kx.explain.Explainer(
        model, background, method="permutation", link="logit"
    )
    values = sampled(some).values
    rows, places = np.nonzero(some == WORDS.index("not"))
    last = places > 4  # in the sentence that decides
    rows, places = rows[last], places[last]
    after = np.array([WORDS[i] for i in some[rows, places + 1]])
    print("\nmean contribution of the last `not`:")
    means = {}
    for name, kind in (("praise", PRAISE), ("blame", BLAME)):
        means[name] = values[rows, places][np.isin(after, kind)].mean()
        print(f"  before words of {name:8}{means[name]:+7.2f}")
    knows = means["praise"] < 0 < means["blame"]
    print("The network knows what `not` does." if knows else "It only counts words.")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick

    x, y = make_reviews(3000 if quick else 6000, seed=0)
    model = train(x, y, epochs=4 if quick else 12)
    test, labels = make_reviews(1000, seed=1)
    _, accuracy = model.evaluate(test, labels, verbose=0)
    print(f"test accuracy {accuracy:.3f}")
    if accuracy < 0.8:
        raise SystemExit("It has not learned: there is nothing to explain.")

    background = x[: 10 if quick else 100]
    explainer = kx.explain.Explainer(model, background, link="logit")
    print(explainer)
    reviews = [
        "the plot was bad but the cast was good",
        "the plot was bad but the cast was not awful",
        "the plot was good but the cast was not good",
    ]
    explanation = explainer(np.array([encode(r.split()) for r in reviews]))
    draw(explanation, reviews, "explain_text.png")
    words = [[WORDS[i] for i in encode(r.split())] for r in reviews]
    Path("explain_text.html").write_text(
        kx.explain.plots.text_html(explanation, tokens=words)
    )

    judge(model, background, test[: 20 if quick else 300])
    print("The reviews are in explain_text.png and explain_text.html.")


if __name__ == "__main__":
    main()
