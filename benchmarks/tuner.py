"""How good are searches after equal work, and what do they cost?

Five parts, in one run, each against KerasTuner as it is and Optuna alone:

- `functions`: Branin, Hartmann6, and a mixed function of nine hyperparameters of which
  three are under conditions. The best value after 40 evaluations.
- `learning`: a network in NumPy on the digits of scikit-learn (and with `--data` on
  5,000 images of MNIST), ten hyperparameters. All have the same number of epochs, 20
  times 27. The loss that the best trial has reached after a quarter, half and all of
  them, and how many epochs it takes to come to where random search ends.
- `suggestions`: CPU time of one proposal after 10, 100 and 300 trials, six dimensions.
- `overhead`: CPU time of a trial of a real Keras model, beyond that of building and
  training the same models in a plain loop, which takes turns with the searches.
- `memory`: by how much a process grows from its 10th to its 60th trial.

Seeds of KerasTuner are far apart, for neighbours give the same configurations there.
Its `Hyperband` promotes without the state of the optimizer, as it does with models.

Run: `python benchmarks/tuner.py [functions] [learning] [suggestions] [overhead]
[memory] [--seeds 10] [--data mnist10k DIR] [--without SEARCH] [--json FILE]
[--quick]`
"""

import argparse
import contextlib
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import optuna

import keras_ext as kx
from benchmarks import _tuner_tasks as tasks
from keras_ext.tuner._optuna_space import Translation, translated

PARTS = ("functions", "learning", "suggestions", "overhead", "memory")
EVALUATIONS, LONGEST = 40, 27
OURS = "keras_ext BOHB"


def silent(function):
    """Calls it without what KerasTuner prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function()


def far(seed):
    return seed * 1_000_003 + 1


# ---------------------------------------------------------------- evaluations


class Evaluations:
    """Counts what was evaluated, and keeps the best."""

    def __init__(self, function, limit):
        self.function, self.limit = function, limit
        self.best = []

    def __call__(self, values):
        if len(self.best) == self.limit:
            raise tasks.Spent
        value = self.function(values)
        self.best.append(min([value, *self.best[-1:]]))
        return value


def by_tuner(tuner, **arguments):
    """A search by a tuner class."""

    def search(evaluate, space, limit, seed):
        class Searching(tuner):
            def run_trial(self, trial, *args, **kwargs):
                return evaluate(trial.hyperparameters.values)

        with tempfile.TemporaryDirectory() as folder:
            made = Searching(
                max_trials=limit,
                hyperparameters=space,
                seed=far(seed) % 2**31,
                directory=folder,
                **arguments,
            )
            made.search(verbose=0)

    return search


def by_optuna(evaluate, space, limit, seed):
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: evaluate(values_of(trial, space)), n_trials=limit)


def values_of(trial, space):
    """What Optuna suggests for a space of KerasTuner."""
    found = keras_tuner.HyperParameters()
    for part in translated(space.space):
        hp = part.hp if isinstance(part, Translation) else part
        found.merge([hp])
        if not found.is_active(hp):
            continue
        kind = part.distribution
        if isinstance(kind, optuna.distributions.CategoricalDistribution):
            value = trial.suggest_categorical(part.name, kind.choices)
        elif isinstance(kind, optuna.distributions.IntDistribution):
            value = trial.suggest_int(part.name, kind.low, kind.high, log=kind.log)
        else:
            value = trial.suggest_float(part.name, kind.low, kind.high, log=kind.log)
        found.values[hp.name] = part.from_optuna(value)
    return found.values


FOR_FUNCTIONS = {
    "stock RandomSearch": by_tuner(keras_tuner.RandomSearch),
    "stock BayesianOptimization": by_tuner(keras_tuner.BayesianOptimization),
    "Optuna alone": by_optuna,
    "keras_ext BayesianOptimization": by_tuner(kx.tuner.BayesianOptimization),
    OURS: by_tuner(kx.tuner.BOHB, max_epochs=1),
}


def functions(options, found):
    for name, function in tasks.FUNCTIONS.items():
        print(f"\n{name}: best of {options.evaluations}, {options.seeds} seeds")
        print(f"{'search':32}{'median':>9}{'best':>9}{'worst':>9}{'CPU ms/trial':>14}")
        for who, search in FOR_FUNCTIONS.items():
            if who in options.without:
                continue
            runs, cpu = [], []
            for seed in range(options.seeds):
                evaluate = Evaluations(function, options.evaluations)
                space = tasks.space_of(name)
                began = time.process_time()
                with contextlib.suppress(tasks.Spent):
                    limit = options.evaluations
                    silent(lambda e=evaluate, s=space: search(e, s, limit, seed))  # noqa: B023
                cpu.append((time.process_time() - began) / options.evaluations)
                runs.append(evaluate.best)
            last = [run[-1] for run in runs]
            print(f"{who:32}" + "".join(f"{v:9.4f}" for v in spread(last)), end="")
            print(f"{1e3 * np.median(cpu):14.1f}", flush=True)
            found[f"functions/{name}/{who}"] = {"best": runs, "cpu": cpu}


def spread(values):
    return np.median(values), min(values), max(values)


# ---------------------------------------------------------------- learning


class Curves:
    """Trains networks epoch by epoch until the budget is spent."""

    def __init__(self, sets, budget, seed):
        self.sets, self.budget, self.seed = sets, budget, seed
        self.networks, self.best = {}, []

    def network(self, values, trial_id):
        seed = [self.seed, len(self.networks)]
        self.networks[trial_id] = tasks.Network(values, self.sets, seed)
        return self.networks[trial_id]

    def train(self, network, epochs):
        """Yields the loss at each epoch."""
        for _ in range(epochs):
            if len(self.best) == self.budget:
                raise tasks.Spent
            loss = network.epoch()
            self.best.append(min([loss, *self.best[-1:]]))
            yield loss


def learned(tuner, *, reports=False, forgets=False, **arguments):
    """A search of networks by a tuner class.

    Args:
        tuner: The class.
        reports: Whether each epoch is reported, and may be the last.
        forgets: Whether what is promoted begins with a new optimizer.
        **arguments: Other arguments of the class.
    """

    class Learning(tuner):
        def run_trial(self, trial, *args, **kwargs):
            values, curves = trial.hyperparameters.values, self.curves
            parent = values.get("tuner/trial_id")
            epochs = values.get("tuner/epochs", LONGEST)
            epochs -= values.get("tuner/initial_epoch", 0)
            if parent is None:
                network = curves.network(values, trial.trial_id)
            else:
                network = curves.networks[trial.trial_id] = curves.networks[parent]
                if forgets:
                    network.forget()
            losses = []
            for epoch, loss in enumerate(curves.train(network, epochs)):
                losses.append(loss)
                if reports:
                    logs = {"val_loss": loss}
                    answer = self.oracle.update_trial(trial.trial_id, logs, step=epoch)
                    if answer.status == "STOPPED":
                        break
            return None if reports else {"val_loss": min(losses)}

    def search(curves, seed):
        with tempfile.TemporaryDirectory() as folder:
            made = Learning(
                objective=keras_tuner.Objective("val_loss", "min"),
                hyperparameters=tasks.network_space(),
                seed=far(seed) % 2**31,
                directory=folder,
                **arguments,
            )
            made.curves = curves
            made.search(verbose=0)

    return search


def learned_by_optuna(curves, seed):
    """Optuna as it is: TPE, and successive halving."""
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
    pruner = optuna.pruners.SuccessiveHalvingPruner(reduction_factor=3)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    space = tasks.network_space()

    def objective(trial):
        values = values_of(trial, space)
        losses = []
        network = curves.network(values, trial.number)
        for epoch, loss in enumerate(curves.train(network, LONGEST)):
            losses.append(loss)
            trial.report(loss, epoch + 1)
            if trial.should_prune():
                raise optuna.TrialPruned
        return min(losses)

    study.optimize(objective)


def for_learning():
    many = {"max_trials": 10_000}
    brackets = {"max_epochs": LONGEST, "factor": 3, "hyperband_iterations": 100}
    stock, own = keras_tuner, kx.tuner
    return {
        "stock RandomSearch": learned(stock.RandomSearch, **many),
        "stock BayesianOptimization": learned(
            stock.BayesianOptimization, num_initial_points=10, **many
        ),
        "stock Hyperband": learned(stock.Hyperband, forgets=True, **brackets),
        "Optuna alone": learned_by_optuna,
        "keras_ext Hyperband": learned(own.Hyperband, **brackets),
        OURS: learned(own.BOHB, reports=True, max_epochs=LONGEST, **many),
    }


def learning(options, found):
    names = ["digits"] + (["mnist10k"] if options.data else [])
    budget = options.trainings * LONGEST
    for name in names:
        sets = tasks.data(name, options.data and options.data[1])
        print(
            f"\n{name}: {budget} epochs, {options.seeds} seeds, loss on held out data"
        )
        runs, cpu, counts = {}, {}, {}
        for who, search in for_learning().items():
            if who in options.without:
                continue
            runs[who], cpu[who], counts[who] = [], [], []
            for seed in range(options.seeds):
                curves = Curves(sets, budget, seed)
                began = time.process_time()
                with contextlib.suppress(tasks.Spent):
                    silent(lambda s=search, c=curves, n=seed: s(c, n))
                cpu[who].append(time.process_time() - began)
                counts[who].append(len(curves.networks))
                runs[who].append(curves.best)
        tell_learning(runs, cpu, counts, budget)
        found[f"learning/{name}"] = {"best": runs, "cpu": cpu, "trials": counts}


def tell_learning(runs, cpu, counts, budget):
    """Prints the table, and the goals if nothing that they need was left out."""
    marks = (budget // 4, budget // 2, budget)
    random = runs.get("stock RandomSearch", [[0.0]])
    target = np.median([run[-1] for run in random])
    heads = [f"@{mark}" for mark in marks] + ["worst", "to target", "trials", "CPU s"]
    print(f"{'search':28}" + "".join(f"{head:>11}" for head in heads))
    for who, curves in runs.items():
        row = [np.median([run[mark - 1] for run in curves]) for mark in marks]
        row.append(max(run[-1] for run in curves))
        needed = [reached(run, target, budget) for run in curves]
        print(f"{who:28}" + "".join(f"{value:11.4f}" for value in row), end="")
        print(f"{np.median(needed):11.0f}{np.median(counts[who]):11.0f}", end="")
        print(f"{np.median(cpu[who]):11.1f}")
    last = {who: np.median([run[-1] for run in curves]) for who, curves in runs.items()}
    if not last.keys() >= {OURS, "stock Hyperband"}:
        return
    needed = np.median([reached(run, target, budget) for run in runs[OURS]])
    print(
        f"{OURS}: target of random search ({target:.4f}) after {needed:.0f} epochs, ",
        end="",
    )
    print(f"1/{budget / needed:.1f} of its {budget}; final loss ", end="")
    print(f"{last[OURS] / last['stock Hyperband']:.2f} x stock Hyperband", flush=True)


def reached(run, target, budget):
    """After how many epochs a loss was reached; one more than all if never."""
    return next((i + 1 for i, loss in enumerate(run) if loss <= target), budget + 1)


# ---------------------------------------------------------------- suggestions


def oracles(space):
    stock = keras_tuner.oracles
    common = {"max_trials": 10_000, "hyperparameters": space, "seed": 1}
    score = keras_tuner.Objective("score", "min")
    return {
        "stock RandomSearch": lambda: stock.RandomSearchOracle(score, **common),
        "stock BayesianOptimization": lambda: stock.BayesianOptimizationOracle(
            score, num_initial_points=2, **common
        ),
        "keras_ext OptunaOracle": lambda: kx.tuner.OptunaOracle(score, **common),
        "keras_ext GaussianProcessOracle": lambda: kx.tuner.GaussianProcessOracle(
            score, **common
        ),
    }


def suggestions(options, found):
    print("\nCPU ms of a proposal, six dimensions, after so many trials")
    print(f"{'oracle':32}" + "".join(f"{count:>10}" for count in options.counts))
    for who, make in oracles(tasks.space_of("hartmann6")).items():
        row = [silent(lambda m=make, c=c: proposal_time(m, c)) for c in options.counts]
        print(f"{who:32}" + "".join(f"{1e3 * t:10.1f}" for t in row), flush=True)
        found[f"suggestions/{who}"] = row


def proposal_time(make, count):
    """CPU seconds of a proposal, after trials that are drawn at random."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        oracle = make()
        oracle._set_project_dir(folder, "project")
        oracle.verbose = 0
        own, took = oracle.populate_space, []

        def drawn(trial_id):
            values = {f"x{i}": float(rng.random()) for i in range(6)}
            return {"status": "RUNNING", "values": values}

        def timed(trial_id):
            began = time.process_time()
            answer = own(trial_id)
            took.append(time.process_time() - began)
            return answer

        for number in range(count + 3):
            oracle.populate_space = drawn if number < count else timed
            trial = oracle.create_trial("tuner")
            values = trial.hyperparameters.values
            oracle.update_trial(trial.trial_id, {"score": tasks.hartmann6(values)})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
    return float(np.median(took))


# ---------------------------------------------------------------- overhead, memory


def build(hp):
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32, "relu")])
    model.add(keras.layers.Dense(10, "softmax"))
    rate = hp.Float("rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    return model


def plain(trials, fit, folder):
    """Builds and trains the same models without any search."""
    hp = keras_tuner.HyperParameters()
    for _ in range(trials):
        keras.utils.clear_session(free_memory=False)
        build(hp).fit(**fit)


def searching(tuner, **arguments):
    def run(trials, fit, folder):
        search = tuner(
            build,
            "val_loss",
            trials,
            seed=1,
            directory=folder,
            overwrite=True,
            **arguments,
        )
        # A tuner of KerasTuner needs TensorBoard for each trial.
        search._configure_tensorboard_dir = lambda *args, **kwargs: None
        search.search(**fit)

    return run


def with_models():
    return {
        "plain loop": plain,
        "stock RandomSearch": searching(keras_tuner.RandomSearch),
        "keras_ext RandomSearch": searching(kx.tuner.RandomSearch),
        "  without backup": searching(kx.tuner.RandomSearch, backup=False),
    }


def fit_arguments(epochs):
    x, y, x_val, y_val = tasks.data("digits")
    held_out = (x_val, y_val)
    sets = {"x": x, "y": y, "validation_data": held_out}
    return {**sets, "epochs": epochs, "batch_size": 64, "verbose": 0}


def overhead(options, found):
    trials, fit = 4, fit_arguments(5)
    runs = {who: [] for who in with_models()}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.turns + 1):
            for who, run in with_models().items():
                gc.collect()
                began = time.process_time()
                silent(lambda r=run: r(trials, fit, folder))
                if turn:  # the first is a warm-up
                    runs[who].append((time.process_time() - began) / trials)
    print(
        f"\nCPU s per trial of 5 epochs, {options.turns} turns; beyond the plain loop"
    )
    base = np.median(runs["plain loop"])
    for who, times in runs.items():
        print(f"{who:28}{np.median(times):9.3f}{np.median(times) - base:9.3f}")
    beyond = [np.median(runs[who]) - base for who in list(runs)[1:3]]
    print(f"keras_ext / stock: {beyond[1] / beyond[0]:.2f}", flush=True)
    found["overhead"] = runs


def memory(options, found):
    print("\nMB of a process after 10 trials and after 60, and growth in percent")
    for who in list(with_models())[1:3]:
        command = [sys.executable, __file__, "--grow", who]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        )
        early, late = json.loads(done.stdout.splitlines()[-1])
        growth = 100 * (late / early - 1)
        print(f"{who:28}{early / 1e6:9.0f}{late / 1e6:9.0f}{growth:9.1f}", flush=True)
        found[f"memory/{who}"] = [early, late]


def grow(who):
    """Prints the resident memory after 10 and after 60 trials."""
    sizes, fit = [], fit_arguments(1)

    class Look(keras.callbacks.Callback):
        count = 0

        def on_train_begin(self, logs=None):
            Look.count += 1
            if Look.count in (11, 61):
                gc.collect()
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                sizes.append(pages * os.sysconf("SC_PAGE_SIZE"))

    fit["callbacks"] = [Look()]
    with tempfile.TemporaryDirectory() as folder:
        silent(lambda: with_models()[who](61, fit, folder))
    print(json.dumps(sizes))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", nargs=2, metavar=("mnist10k", "DIR"))
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="SEARCH", help="left out, if slow"
    )
    parser.add_argument("--json")
    parser.add_argument("--quick", action="store_true", help="tiny, to try it")
    parser.add_argument("--grow", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grow:
        grow(options.grow)
        return
    quick = options.quick
    options.seeds = 1 if quick else options.seeds
    options.evaluations, options.trainings = (6, 2) if quick else (EVALUATIONS, 20)
    options.counts, options.turns = ((10,), 1) if quick else ((10, 100, 300), 5)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    found = {}
    for part in options.parts or PARTS:
        globals()[part](options, found)
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
