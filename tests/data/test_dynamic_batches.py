import copy
import itertools
import json
import pickle
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_ext.data import DynamicBatches
from tests.thorough import LONG, MATRIX, thorough_but

N = 100
X = np.arange(N, dtype="float32")[:, None]
Y = np.cos(X)


RAGGED = tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1], [2, 3]]))


def samples():
    return tf.data.Dataset.from_tensor_slices((X, Y))


class Recorder(keras.Model):
    """A model that only notes which samples it gets, batch by batch."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.batches = []
        self.traces = 0

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        def note(x):
            self.batches.append([int(i) for i in x[:, 0]])
            return np.float32(0)

        self.traces += 1
        x, _ = data
        return {"loss": tf.ensure_shape(tf.numpy_function(note, [x], tf.float32), ())}


def recorder(**arguments):
    model = Recorder()
    model.compile("sgd", "mse", **arguments)
    return model


class SetSizes(keras.callbacks.Callback):
    """Sets the next of the sizes after each batch; notes the steps of each epoch."""

    def __init__(self, batches, sizes):
        super().__init__()
        self.batches = batches
        self.sizes = itertools.cycle(sizes)
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.batch_size = next(self.sizes)
        self.last = batch

    def on_epoch_end(self, epoch, logs=None):
        self.steps.append((self.last + 1, int(self.params["steps"])))


def regression():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


@settings(max_examples=15, deadline=None, database=None)
@given(
    n=st.integers(1, 60),
    sizes=st.lists(st.sampled_from([2, 4, 6, 16, 32]), min_size=1, max_size=12),
    dataset=st.booleans(),
    prefetch=st.integers(0, 2),
    drop=st.booleans(),
)
@example(n=1, sizes=[32], dataset=True, prefetch=0, drop=True)
@pytest.mark.thorough(LONG)
def test_every_sample_comes_once_whatever_the_sizes(n, sizes, dataset, prefetch, drop):
    x = np.arange(n)
    batches = DynamicBatches(
        tf.data.Dataset.range(n) if dataset else x,
        batch_size=4,
        sizes=[2, 4, 6, 16, 32],
        prefetch=prefetch,
        drop_remainder=drop,
    )
    seen, drawn = [], []
    for i, batch in enumerate(batches):
        (batch,) = batch if isinstance(batch, tuple) else (batch,)
        # There is another batch, and it has been counted before it came.
        assert i < int(batches.num_batches)
        seen += batch.numpy().tolist()
        drawn.append(len(batch))
        batches.batch_size = sizes[i % len(sizes)]
    assert int(batches.num_batches) == len(drawn)
    assert set(drawn) == set(batches.drawn_sizes)
    if drop:
        assert len(set(seen)) == len(seen) == n - n % 2
        assert set(drawn) <= {2, 4, 6, 16, 32}
    else:
        assert sorted(seen) == list(range(n))
    if prefetch == 0 and not drop:
        asked = [4, *(sizes[i % len(sizes)] for i in range(len(drawn)))]
        assert drawn[:-1] == asked[: len(drawn) - 1]
        assert drawn[-1] <= asked[len(drawn) - 1]


@pytest.mark.parametrize("data", [(X, Y), (samples(),)], ids=["arrays", "dataset"])
@pytest.mark.parametrize(
    ("drop", "steps_per_execution"),
    [
        pytest.param(False, 1, marks=pytest.mark.thorough(MATRIX)),
        (True, 1),
        (False, 3),
        pytest.param(True, 3, marks=pytest.mark.thorough(MATRIX)),
    ],
)
@pytest.mark.thorough(LONG)
def test_epochs_of_fit_are_exact(data, steps_per_execution, drop):
    model = recorder(steps_per_execution=steps_per_execution)
    batches = DynamicBatches(*data, batch_size=8, drop_remainder=drop)
    sizes = SetSizes(batches, [8, 64, 16, 8, 32, 8])
    model.fit(batches, epochs=4, callbacks=[sizes], verbose=0)
    epochs = split_into_epochs(model.batches, N - 4 * drop)
    assert [len(e) for e in epochs] == [total for _, total in sizes.steps]
    if steps_per_execution == 1:
        assert all(done == total for done, total in sizes.steps)
    assert model.traces == 1
    assert {len(b) for b in model.batches} == set(batches.drawn_sizes)


def split_into_epochs(batches, num_samples):
    """Takes the batches apart; each epoch has to have every sample at most once."""
    epochs, seen = [[]], []
    for batch in batches:
        if len(seen) == num_samples:
            epochs, seen = [*epochs, []], []
        epochs[-1].append(batch)
        seen += batch
        assert len(set(seen)) == len(seen)
    assert len(seen) == num_samples
    return epochs


@pytest.mark.parametrize(
    ("in_scope", "data"),
    [
        pytest.param(False, (X, Y), marks=pytest.mark.thorough(MATRIX)),
        pytest.param(True, (X, Y), marks=pytest.mark.thorough(MATRIX)),
        (True, (samples(),)),
    ],
    ids=["arrays", "arrays in scope", "dataset in scope"],
)
@pytest.mark.thorough(LONG)
def test_epochs_are_exact_on_two_replicas(strategies, in_scope, data):
    strategy = strategies(2)
    with strategy.scope():
        model = recorder()
        if in_scope:
            batches = DynamicBatches(*data, batch_size=8)
    if not in_scope:
        batches = DynamicBatches(*data, batch_size=8)
    sizes = SetSizes(batches, [8, 16, 32, 8])
    model.fit(batches, epochs=3, callbacks=[sizes], verbose=0)
    assert sorted(sum(model.batches, [])) == sorted([*range(N)] * 3)
    # Halves of batches that are divisible, of any order.
    assert {len(b) for b in model.batches} <= {s // 2 for s in batches.drawn_sizes}
    assert all(done == total for done, total in sizes.steps)


@pytest.mark.parametrize("data", [(X, Y), (samples(),)], ids=["arrays", "dataset"])
@pytest.mark.thorough(LONG)
def test_workers_share_each_batch(data):
    """Two workers of two replicas: what `tf.distribute` asks of each of them."""
    parts = []
    for worker in range(2):
        context = tf.distribute.InputContext(2, worker, num_replicas_in_sync=4)
        batches = DynamicBatches(*data, batch_size=8, seed=1, prefetch=0)
        parts.append([])
        for size in (8, 32):
            batches.batch_size = size
            for x, _ in batches._pipeline(context):
                parts[-1].append(x[:, 0].numpy().astype(int).tolist())
                batches.batch_size = 16  # too late for this epoch
    assert [len(p) for p in parts[0]] == 24 * [2] + 2 * [1] + 6 * [8] + 2 * [1]
    assert [len(p) for p in parts[1]] == 24 * [2] + 2 * [1] + 6 * [8] + 2 * [1]
    assert sorted(sum(parts[0] + parts[1], [])) == sorted([*range(N)] * 2)
    # A step has the batch that one process would have, its parts in turn.
    whole = next(iter(DynamicBatches(*data, batch_size=8, seed=1)._pipeline()))[0]
    first = sum((p[i] for i in (0, 1) for p in parts), [])
    assert first == whole[:, 0].numpy().astype(int).tolist()


@pytest.mark.parametrize("data", [(X, Y), (samples(),)], ids=["arrays", "dataset"])
@pytest.mark.thorough(LONG)
def test_trains_as_fit_on_arrays(data):
    plain, dynamic = regression(), regression()
    plain.fit(X / N, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    scaled = (X / N, Y)
    if len(data) == 1:
        scaled = (tf.data.Dataset.from_tensor_slices(scaled),)
    batches = DynamicBatches(*scaled, batch_size=8, shuffle=False)
    dynamic.fit(batches, epochs=2, verbose=0)
    np.testing.assert_allclose(
        *[m.get_weights()[0] for m in (plain, dynamic)], rtol=1e-6
    )


# Data that are made outside of the scope are drawn on two replicas above.
@pytest.mark.parametrize("in_scope", thorough_but({True}, [False, True]))
def test_weights_are_the_same_on_two_replicas(strategies, in_scope):
    """Also the first epoch, though Keras then looks at a batch before it begins."""
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = regression()
            if in_scope:
                batches = DynamicBatches(X[:96] / N, Y[:96], None, batch_size=8, seed=3)
        if not in_scope:
            batches = DynamicBatches(X[:96] / N, Y[:96], None, batch_size=8, seed=3)

        class Grow(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                batches.batch_size = 8 * 2**epoch  # noqa: B023

        for _ in range(2):
            model.fit(batches, epochs=2, callbacks=[Grow()], verbose=0)
        results.append(model.get_weights()[0])
    np.testing.assert_allclose(*results, rtol=1e-5)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(None, marks=pytest.mark.thorough(MATRIX)),
        np.linspace(0.5, 2, 33),
    ],
)
@pytest.mark.thorough(LONG)
def test_last_batch_of_one_sample_counts_once_on_two_replicas(strategies, weights):
    results = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = regression()
            batches = DynamicBatches(X[:33] / N, Y[:33], weights, batch_size=8, seed=3)
        model.fit(batches, epochs=2, verbose=0)
        results.append([*model.get_weights(), model.optimizer.iterations.numpy()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_order_is_new_in_each_epoch_and_repeats_with_the_seed():
    orders = {}
    for name, seed in (("a", 1), ("again", 1), ("b", 2)):
        model = recorder()
        batches = DynamicBatches(X, Y, seed=seed)
        model.fit(batches, epochs=2, verbose=0)
        model.fit(batches, epochs=1, verbose=0)
        orders[name] = np.reshape(sum(model.batches, []), (3, N)).tolist()
    assert orders["a"] == orders["again"] != orders["b"]
    assert len({tuple(order) for order in orders["a"] + [list(range(N))]}) == 4


def test_seed_is_drawn_from_the_global_one():
    seeds = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        seeds.append(DynamicBatches(X).seed)
    assert seeds[0] == seeds[1] != seeds[2]


def test_a_new_size_is_used_soon_and_at_once_in_the_next_epoch():
    model = recorder()
    batches = DynamicBatches(X, Y, batch_size=4)

    class Grow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                batches.batch_size = 16

        def on_epoch_end(self, epoch, logs=None):
            batches.batch_size = 8

    model.fit(batches, epochs=2, callbacks=[Grow()], verbose=0)
    lengths = [len(b) for b in model.batches]
    assert lengths[:3] == [4, 4, 4]
    assert 16 in lengths[3:6]
    first, second = split_into_epochs(model.batches, N)
    assert [len(b) for b in second[:2]] == [8, 8]


@pytest.mark.parametrize("verbose", [1, 2])
def test_progress_bar_shows_the_steps(capsys, verbose):
    model = recorder()
    batches = DynamicBatches(X, Y, batch_size=8)
    sizes = SetSizes(batches, [32, 16, 8, 8, 8])
    model.fit(batches, epochs=3, callbacks=[sizes], verbose=verbose)
    shown = re.findall(r"(\d+)/(\d+)\S* .*?step - loss", capsys.readouterr().out)
    last = [(int(a), int(b)) for a, b in shown if a == b]
    assert list(dict.fromkeys(last)) == list(dict.fromkeys(sizes.steps))
    assert sizes.steps[0] != (13, 13)  # so the number did change


def test_fits_that_begin_late_or_end_early():
    model = recorder()
    batches = DynamicBatches(X, Y, batch_size=8)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 4

    history = model.fit(batches, epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4]
    assert len(model.batches) == 2 * 13
    model.fit(batches, epochs=2, callbacks=[Stop()], verbose=0)
    assert len(model.batches) == 2 * 13 + 5
    model.fit(batches, epochs=2, verbose=0)
    split_into_epochs(model.batches[31:], N)
    assert len(model.batches) == 4 * 13 + 5


def test_steps_per_epoch_of_all_batches_has_a_new_order_each_time():
    model = recorder()
    batches = DynamicBatches(X, Y, batch_size=50, seed=0)
    model.fit(batches, epochs=3, steps_per_epoch=2, verbose=0)
    orders = np.reshape(model.batches, (3, N)).tolist()
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(N)) for order in orders)


def test_steps_per_epoch_goes_on_where_it_was():
    model = recorder()
    batches = DynamicBatches(X, Y, batch_size=4, seed=0)
    model.fit(batches, epochs=5, steps_per_epoch=5, verbose=0)
    assert len(split_into_epochs(model.batches, N)) == 1


@pytest.mark.usefixtures("graphs_as_shipped")
@pytest.mark.thorough(LONG)
def test_serves_for_validation_evaluation_and_prediction():
    model = regression()
    batches = DynamicBatches(X / N, Y, batch_size=8)
    fixed = DynamicBatches(X / N, Y, batch_size=16, shuffle=False)
    history = model.fit(batches, validation_data=fixed, epochs=2, verbose=0)
    expected = model.evaluate(X / N, Y, verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(fixed, verbose=0) == pytest.approx(expected, rel=1e-5)
    batches.batch_size = 64
    predicted = model.predict(fixed, verbose=0)
    np.testing.assert_allclose(predicted, model.predict(X / N, verbose=0), rtol=1e-5)


def test_looking_at_the_data_within_an_epoch_does_not_disturb_it():
    model = recorder()
    batches = DynamicBatches(X, Y, batch_size=8)

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                batches.batch_size = 8
                assert len(list(batches)) == 13
                batches.batch_size = 16

    model.fit(batches, epochs=2, callbacks=[Look()], verbose=0)
    assert len(split_into_epochs(model.batches, N)) == 2


def test_is_compiled_once_for_each_size():
    layers = [keras.Input((1,)), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    traces = []

    class Traced(keras.losses.Loss):
        def call(self, y, p):
            traces.append(1)
            return keras.ops.mean((y - p) ** 2, axis=-1)

    model.compile("sgd", Traced(), jit_compile=True)
    batches = DynamicBatches(X, Y, batch_size=8, drop_remainder=True)
    sizes = SetSizes(batches, [8, 16, 8, 32])
    model.fit(batches, epochs=3, callbacks=[sizes], verbose=0)
    assert len(traces) == 1
    assert set(batches.drawn_sizes) <= set(batches.sizes) == {8, 16, 32, 64}


def test_reads_a_dataset_once_per_epoch():
    read = []

    def generate():
        for i in range(N):
            read.append(i)
            yield X[i], Y[i]

    spec = (tf.TensorSpec((1,)), tf.TensorSpec((1,)))
    source = tf.data.Dataset.from_generator(generate, output_signature=spec)
    model = recorder()
    model.fit(DynamicBatches(source, num_samples=N), epochs=3, verbose=0)
    assert len(read) == 3 * N


def test_nested_data_and_weights():
    x = {"a": X, "b": [X.astype("int32"), X.astype("float64")]}
    batches = DynamicBatches(x, (Y, Y), np.ones(N), batch_size=64, shuffle=False)
    (first, second) = list(batches)
    keras.tree.assert_same_structure(first, ({"a": 0, "b": (0, 0)}, (0, 0), 0))
    assert first[0]["b"][0].dtype == tf.int32
    assert first[0]["b"][1].dtype == tf.float32  # as Keras would make of it
    assert second[2].shape == (36,)
    np.testing.assert_array_equal(second[0]["a"], X[64:])


def test_sample_weights_count():
    weights = (X[:, 0] < 50).astype("float32")
    model = regression()
    result = model.evaluate(DynamicBatches(X, Y, weights, batch_size=10), verbose=0)
    expected = model.evaluate(X, Y, sample_weight=weights, batch_size=10, verbose=0)
    assert result == pytest.approx(expected, rel=1e-5)


def test_sizes():
    assert DynamicBatches(X, batch_size=8).sizes == (8, 16, 32, 64)
    assert DynamicBatches(X, batch_size=8, max_batch_size=48).sizes == (8, 16, 32)
    assert DynamicBatches(X, batch_size=1).sizes == (1, 2, 4, 8, 16, 32)
    assert DynamicBatches(X, batch_size=20, sizes=[60, 20]).sizes == (20, 60)


def test_size_is_the_next_smaller_one_of_the_list():
    batches = DynamicBatches(X, batch_size=8)
    for value, taken in ((31, 16), (32, 32), (1, 8), (1000, 64)):
        batches.batch_size = value
        assert batches.batch_size == taken


def test_a_deep_copy_is_the_same_data():
    batches = DynamicBatches(X)
    assert copy.deepcopy({"data": batches})["data"] is batches


@pytest.mark.parametrize(
    "copied",
    [copy.copy, lambda b: pickle.loads(pickle.dumps(b))],
    ids=["copy", "pickle"],
)
def test_other_copies_are_of_their_own(copied):
    """Also after a `fit`, which leaves in it what belongs to the process."""
    batches = DynamicBatches(X, Y, batch_size=8, seed=5, drop_remainder=True)
    model = recorder()
    model.fit(batches, epochs=2, verbose=0)
    batches.batch_size = 32
    other = copied(batches)
    assert (other.batch_size, other.sizes, other.num_samples) == (32, batches.sizes, N)
    other.batch_size = 16
    assert batches.batch_size == 32
    assert other.drawn_sizes == ()
    fresh = DynamicBatches(X, Y, batch_size=16, seed=5, drop_remainder=True)
    for found, wanted in zip(other, fresh, strict=True):
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])


def test_what_holds_them_can_be_pickled_with_them():
    cloudpickle = pytest.importorskip("cloudpickle")
    batches = DynamicBatches(X, Y, batch_size=8)
    held = {"batches": batches, "again": [batches]}
    for pickler in (pickle, cloudpickle):
        found = pickle.loads(pickler.dumps(held))
        assert found["again"][0] is found["batches"]
    with pytest.raises(TypeError, match="Give it arrays, or make it where it is"):
        pickle.dumps(DynamicBatches(samples()))


def test_params_of_a_history_are_plain_numbers():
    model, batches = recorder(), DynamicBatches(X, Y, batch_size=8)
    history = model.fit(batches, epochs=2, verbose=0)
    assert type(history.params["steps"]) is int
    assert json.loads(json.dumps(history.params))["steps"] == 13


WEIGHTS = {0: 3.0, 2: 0.5}


@pytest.mark.parametrize(
    ("data", "in_scope"),
    [
        (lambda x, y: (x, y), True),
        (lambda x, y: (dataset_of(x, y),), False),
        pytest.param(lambda x, y: (x, y), False, marks=pytest.mark.thorough(MATRIX)),
        pytest.param(
            lambda x, y: (dataset_of(x, y),), True, marks=pytest.mark.thorough(MATRIX)
        ),
    ],
    ids=["arrays in scope", "dataset", "arrays", "dataset in scope"],
)
def test_class_weight_counts_as_with_arrays(strategies, data, in_scope):
    """On two replicas also in the last batch, of one sample."""
    x, y = X[:33] / N, (np.arange(33) % 4).astype("int32")
    losses = []
    for own in (data(x, y), None):
        with strategies(1 + in_scope * (own is not None)).scope():
            keras.utils.set_random_seed(0)
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(4)])
            criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.SGD(0.5), criterion)
            if own:
                own = (DynamicBatches(*own, batch_size=8, shuffle=False),)
        model.fit(
            *(own or (x, y)),
            batch_size=8,
            class_weight=WEIGHTS,
            shuffle=False,
            epochs=2,
            verbose=0,
        )
        losses.append(model.get_weights())
    for one, two in zip(*losses, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def dataset_of(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y))


@pytest.mark.thorough(LONG)
def test_class_weight_is_that_of_one_run():
    model = regression()
    batches = DynamicBatches(X / N, Y > 0, batch_size=50, shuffle=False)
    model.optimizer.learning_rate = 0.0
    plain = model.evaluate(batches, verbose=0)
    weighted = model.fit(batches, class_weight={0: 2, 1: 2}, verbose=0)
    assert weighted.history["loss"] == [pytest.approx(2 * plain, rel=1e-5)]
    assert model.fit(batches, verbose=0).history["loss"] == [pytest.approx(plain)]


@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        ((X, Y), {"class_weight": [1]}, "`class_weight` must be a dictionary of"),
        ((X, Y), {"class_weight": {}}, "`class_weight` must be a dictionary of"),
        (
            (X,),
            {"class_weight": WEIGHTS},
            "`class_weight` must be None without targets",
        ),
        ((X, Y, Y[:, 0]), {"class_weight": WEIGHTS}, "must be None with weights of"),
        ((X, (Y, Y)), {"class_weight": WEIGHTS}, "must be None with several targets"),
        ((X, Y), {"y": Y}, "`y` must be None with DynamicBatches"),
        ((X, Y), {"sample_weight": Y}, "`sample_weight` must be None with Dynamic"),
        ((X, Y), {"validation_split": 0.5}, "`validation_split` is only supported for"),
    ],
)
def test_nothing_that_fit_is_given_is_dropped(given, arguments, message):
    with pytest.raises(ValueError, match=message):
        recorder().fit(DynamicBatches(*given), **arguments, verbose=0)


@pytest.mark.parametrize(
    "data",
    [(X, Y), pytest.param((samples(),), marks=pytest.mark.thorough(MATRIX))],
    ids=["arrays", "dataset"],
)
@pytest.mark.thorough(LONG)
def test_an_interrupted_training_goes_on_with_the_order_it_would_have_had(
    data, tmp_path
):
    """Killed in the third of four epochs, and started again in a fresh process."""

    def start(callbacks, **arguments):
        model = recorder()
        model(X[:1])  # as BackupAndRestore asks for
        batches = DynamicBatches(*data, batch_size=8, seed=5)
        # What is read beside it, and was not before, makes no difference.
        assert len(list(batches)) == 13
        grow = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: setattr(
                batches, "batch_size", 8 * 2**epoch
            )
        )
        try:
            model.fit(
                batches, epochs=4, callbacks=[*callbacks, grow], verbose=0, **arguments
            )
        except KeyboardInterrupt:
            return model
        return model

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if len(self.model.batches) == 13 + 7 + 2:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(
            str(tmp_path / "backup"), delete_checkpoint=False
        )

    whole = start([]).batches
    assert start([backup(), Break()]).batches[:20] == whole[:20]
    assert start([backup()]).batches == whole[20:]
    assert start([], initial_epoch=2).batches == whole[20:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1"),
        ({"max_batch_size": 16}, "`max_batch_size` must be an integer >= 32 or None"),
        ({"prefetch": -1}, "`prefetch` must be an integer >= 0"),
        ({"seed": 0.5}, r"`seed` must be an integer in \[0, 2\*\*31\) or None"),
        ({"sizes": []}, "`sizes` must be a list of integers >= 1"),
        ({"sizes": [16]}, r"`batch_size` must be one of sizes=\[16\]"),
        ({"sizes": [32], "max_batch_size": 64}, "`max_batch_size` must be None"),
        ({"y": Y[:3]}, "`x, y` must be arrays of equally many samples"),
        ({"x": X[:0]}, "must be of one sample or more"),
        ({"x": 1.0}, "`x` must be arrays of numbers or texts, with an axis of"),
        ({"num_samples": 3}, "`num_samples` must be None for arrays"),
        ({"x": samples(), "y": Y}, "`y` must be None; the dataset has to yield it"),
        ({"x": samples().repeat()}, "How many samples are in an epoch is not known"),
        ({"x": samples().take(0)}, "must be at least 1"),
        ({"x": RAGGED}, "must be made of plain tensors"),
        ({"x": samples().batch(2)}, r"Give samples, not batches: dataset.unbatch\(\)"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DynamicBatches(**{"x": X, **arguments})


def test_size_must_be_an_integer():
    batches = DynamicBatches(X)
    with pytest.raises(ValueError, match="`batch_size` must be an integer >= 1"):
        batches.batch_size = 0


def test_sizes_must_be_divisible_by_the_replicas(strategies):
    with (
        strategies(2).scope(),
        pytest.raises(ValueError, match="divisible by the number of replicas, 2"),
    ):
        DynamicBatches(X, batch_size=5)
