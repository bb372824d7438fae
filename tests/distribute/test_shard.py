import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext.distribute import MultiWorker, shard
from tests.thorough import LONG, MATRIX

RNG = np.random.default_rng(0)
X = RNG.normal(size=(41, 3)).astype("float32")
Y = X @ RNG.normal(size=(3, 2)).astype("float32")
W = RNG.uniform(0.5, 2, 41).astype("float32")
DATASET = tf.data.Dataset.from_tensor_slices


def network(outputs=1):
    keras.utils.set_random_seed(0)
    x = keras.Input((3,))
    y = [keras.layers.Dense(2, name=f"y{i}")(x) for i in range(outputs)]
    model = keras.Model(x, y if outputs > 1 else y[0])
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "mse",
        metrics=["mae"] if outputs == 1 else None,
    )
    return model


def parts(strategy, dataset):
    """Of each batch the parts of the replicas."""
    with strategy.scope():
        data = shard(dataset)
    return [
        keras.tree.map_structure(strategy.experimental_local_results, batch)
        for batch in data.get_tf_dataset()
    ]


def some(size, elements):
    kind = "weighted" if len(elements) == 3 else "plain"
    # Even parts, and uneven ones with weights; both have a last batch of one sample.
    seen = (size, kind) in {(8, "plain"), (5, "weighted")}
    marks = () if seen else pytest.mark.thorough(MATRIX)
    return pytest.param(size, elements, id=f"{size}-{kind}", marks=marks)


@pytest.mark.parametrize(
    ("size", "elements"),
    [some(size, elements) for size in (8, 5, 40) for elements in ((X, Y), (X, Y, W))],
)
@pytest.mark.thorough(LONG)
def test_trains_as_one_process_does(strategies, elements, size):
    weights = []
    for replicas in (1, 2):
        with MultiWorker(strategies(replicas)):
            model = network()
            data = shard(DATASET(elements).batch(size))
            history = model.fit(data, epochs=2, verbose=0).history
        steps = int(model.optimizer.iterations.numpy())
        weights.append([*model.get_weights(), steps])
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    assert steps == 2 * -(-41 // size)
    assert np.isfinite(history["loss"]).all()


def test_what_happens_without(strategies):
    """The reason for it: of a last batch of one sample only half is learned."""
    weights = []
    for replicas in (1, 2):
        with MultiWorker(strategies(replicas)):
            model = network()
            model.compile(keras.optimizers.SGD(1.0), "mse")
            before = model.get_weights()[0]
            model.fit(DATASET((X[:1], Y[:1])).batch(8), shuffle=False, verbose=0)
        weights.append(model.get_weights()[0] - before)
    np.testing.assert_allclose(weights[1], weights[0] / 2, rtol=1e-5)


def test_every_sample_comes_once_and_in_order(strategies):
    found = parts(strategies(2), DATASET((X[:40], Y[:40])).batch(7))
    assert [tuple(len(p) for p in x) for x, _, _ in found] == 5 * [(3, 4)] + [(2, 3)]
    rows = [part for x, _, _ in found for part in x]
    np.testing.assert_array_equal(np.concatenate(rows), X[:40])
    for _, _, weights in found:
        count = sum(len(w) for w in weights)
        # Each replica takes the mean, and then the mean of the two is taken.
        for part in weights:
            np.testing.assert_allclose(part / len(part) / 2, 1 / count, rtol=1e-6)


def test_even_batches_have_weights_of_exactly_1(strategies):
    found = parts(strategies(2), DATASET((X[:36], Y[:36])).batch(6))
    assert {float(w) for _, _, parts in found for part in parts for w in part} == {1.0}


def test_fewer_samples_than_replicas(strategies):
    ((x, _, weights),) = parts(strategies(2), DATASET((X[:1], Y[:1])).batch(4))
    assert [len(part) for part in x] == [1, 1]
    assert [float(w[0]) for w in weights] == [2.0, 0.0]


@pytest.mark.thorough(LONG)
def test_evaluate_and_predict(strategies):
    with strategies(2).scope():
        model = network()
        data = shard(DATASET((X, Y)).batch(10))
        inputs = shard(DATASET(X).batch(10))
    alone = network()
    np.testing.assert_array_equal(model.get_weights()[0], alone.get_weights()[0])
    mae = model.evaluate(data, return_dict=True, verbose=0)["mae"]
    # The last sample, alone in its batch, comes twice; see the docstring.
    both = np.concatenate([X, X[-1:]]), np.concatenate([Y, Y[-1:]])
    wanted = alone.evaluate(*both, return_dict=True, verbose=0)["mae"]
    assert mae == pytest.approx(wanted, rel=1e-5)
    found = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(found, alone.predict(X, verbose=0), atol=1e-6)


@pytest.mark.thorough(LONG)
def test_several_inputs_and_outputs(strategies):
    dataset = DATASET((X, (Y, 2 * Y), (W, W**2))).batch(8)
    weights = []
    for replicas in (1, 2):
        with strategies(replicas).scope():
            model = network(outputs=2)
            data = shard(dataset)
        model.fit(data, verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("replicas", [1, 2])
def test_class_weight_is_that_of_the_samples(strategies, replicas):
    """Also in batches that are not divisible; the last one is of one sample."""
    labels = (X[:, 0] > 0).astype("int32")
    weights = np.where(labels == 1, 3.0, 0.5).astype("float32")
    found = []
    with MultiWorker(strategies(replicas)):
        for elements, given in (
            ((X, labels), {"class_weight": {0: 0.5, 1: 3.0}}),
            ((X, labels, weights), {}),
        ):
            keras.utils.set_random_seed(0)
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
            criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.SGD(0.1), criterion)
            model.fit(shard(DATASET(elements).batch(8)), **given, verbose=0)
            found.append(model.get_weights())
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("given", [{"y": Y}, {"sample_weight": W}, {"class_weight": 2}])
def test_nothing_that_fit_is_given_is_dropped(given):
    (name,) = given
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        network().fit(shard(DATASET((X, Y)).batch(8)), **given, verbose=0)


def test_number_of_batches():
    dataset = DATASET(X).batch(10)
    assert shard(dataset).num_batches == 5
    assert shard(dataset.repeat()).num_batches is None
    assert shard(dataset.filter(lambda x: True)).num_batches is None
    assert len(list(shard(dataset).get_numpy_iterator())) == 5


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (X, "`dataset` must be a tf.data.Dataset"),
        (tf.data.Dataset.range(3), "must be of batches"),
        (DATASET(tf.ragged.constant([[1], [2, 3]])).batch(2), "must be of batches"),
    ],
)
def test_bad_arguments(dataset, message):
    with pytest.raises(ValueError, match=message):
        shard(dataset)
