"""Letting Ray Tune search for a network that reads digits.

For a cluster of Ray; without one, Ray starts on this machine. Ray proposes and stops
trials; `RayTrials` turns the hypermodel into its space and its trainable, which reports
each epoch with a checkpoint. It needs `pip install "keras-ext[examples,ray]"`, and does
nothing where Ray is not installed.

Run: `python examples/search_on_ray.py [--quick]`
"""

import argparse
from importlib.util import find_spec

import keras
from sklearn.datasets import load_digits

import keras_ext as kx


def build(hp):
    width = hp.Int("width", 16, 128, step=16)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(width, "relu"),
            keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5)),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    rate = hp.Float("learning_rate", 1e-4, 0.1, sampling="log")
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run for CI")
    quick = parser.parse_args().quick
    if not find_spec("ray"):
        print('Nothing was run: it needs pip install "keras-ext[ray]"')
        return
    from ray import tune

    count, epochs = (2, 2) if quick else (12, 9)
    x, y = load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    trials = kx.tuner.RayTrials(build, "val_accuracy")
    search = tune.Tuner(
        trials.trainable(
            x, y, validation_split=0.3, epochs=epochs, batch_size=64, verbose=0
        ),
        param_space=trials.space(),
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=count,
            scheduler=tune.schedulers.ASHAScheduler(max_t=epochs, reduction_factor=3),
        ),
        run_config=tune.RunConfig(
            verbose=0, failure_config=tune.FailureConfig(max_failures=2)
        ),
    )
    results = search.fit()
    best = results.get_best_result(scope="all")
    print(best.config)
    print("epochs:", sorted(result.metrics["epoch"] for result in results))
    model = trials.best_model(best)
    held_out = len(x) - int(0.7 * len(x))
    _, accuracy = model.evaluate(x[-held_out:], y[-held_out:], verbose=0)
    print(f"accuracy of the best epoch {accuracy:.3f}")


if __name__ == "__main__":
    main()
