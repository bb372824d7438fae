import keras
import pytest
import tensorflow as tf

from keras_ext._keras import _symbolic_build
from keras_ext.distribute import strategy


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    monkeypatch.delenv("TF_CONFIG", raising=False)


@pytest.fixture
def repaired(monkeypatch):
    """Of which strategies it was asked whether Keras has to be repaired for them."""
    asked = []
    monkeypatch.setattr(_symbolic_build, "has_parts", asked.append)
    return asked


def test_without_anything_it_is_none():
    assert strategy() is tf.distribute.get_strategy()
    with strategy().scope():
        assert not tf.distribute.has_strategy()


def test_one_device():
    chosen = strategy("one_device", devices=["CPU:1"])
    assert isinstance(chosen, tf.distribute.OneDeviceStrategy)
    with chosen.scope():
        assert keras.Variable(1.0).value.device.endswith("CPU:1")


@pytest.mark.parametrize("replicas", [1, 2])
def test_repairs_keras_for_what_has_several_replicas(replicas, strategies, monkeypatch):
    """Real workers are tested elsewhere."""
    made, done = strategies(replicas), []
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: made)
    monkeypatch.setattr(_symbolic_build, "repair", lambda: done.append(True))
    assert strategy("mirrored", devices=["CPU:0", "CPU:1"]) is made
    assert len(done) == replicas - 1


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize("kind", ["mirrored", "auto"])
def test_mirrored(kind, monkeypatch):
    made = []
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", made.append)
    strategy(kind, devices=["CPU:0", "CPU:1"])
    assert made == [["CPU:0", "CPU:1"]]


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize(("kind", "number"), [("auto", 2), ("mirrored", 1)])
def test_all_gpus(kind, number, monkeypatch):
    made = []
    gpus = [f"/physical_device:GPU:{i}" for i in range(number)]
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    monkeypatch.setattr(
        tf.config, "get_logical_device_configuration", lambda gpu: [None]
    )
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", made.append)
    strategy(kind)
    assert made == [[f"GPU:{i}" for i in range(number)]]


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize("index", [0, 1])
def test_workers(index, monkeypatch):
    """What is done when; real workers are tested elsewhere."""
    done = []
    note = lambda *args: done.append(args)  # noqa: E731
    monkeypatch.setitem(strategy.__globals__, "rendezvous", note)
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", lambda r: done.append(r)
    )
    strategy(workers=["a:1", "b:2"], index=index, timeout=7)
    (cluster, facts, timeout), resolver = done
    assert (cluster.index, facts, timeout) == (index, {"the number of GPUs": 0}, 7)
    assert resolver.task_id == index


@pytest.mark.usefixtures("repaired")
def test_a_cluster_of_one_is_none_unless_asked_for(monkeypatch):
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", lambda r: r.cluster_spec()
    )
    assert strategy(workers=["a:1"], index=0) is tf.distribute.get_strategy()
    cluster = strategy("multi_worker", workers=["a:1"], index=0)
    assert cluster.as_dict() == {"worker": ["a:1"]}


def test_a_worker_that_does_not_come():
    with pytest.raises(RuntimeError, match=r"Worker 0 \(127.0.0.1:1\) could not be"):
        strategy(workers=["127.0.0.1:1", "127.0.0.1:2"], index=1, timeout=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "horovod"}, '`kind` must be "auto", "mirrored", .* or "one_device"'),
        ({"kind": ["auto"]}, "`kind` must be"),
        ({"kind": "multi_worker"}, "`workers` must be given if neither TF_CONFIG"),
        ({"timeout": 0}, "`timeout` must be a number > 0"),
        ({"workers": ["a"], "index": 0}, "`workers` must be a list"),
        # Nothing that is given is left unused without a word.
        (
            {"kind": "mirrored", "workers": ["a:1"], "index": 0},
            '`workers` must be None with kind="mirrored"',
        ),
        ({"kind": "tpu", "index": 0}, '`index` must be None with kind="tpu"'),
        ({"devices": "GPU:0"}, "`devices` must be a list such as"),
        ({"devices": []}, "`devices` must be a list such as"),
        ({"tpu": 1}, "`tpu` must be a text"),
        ({"tpu": "node-1"}, '`tpu` must be a text, and empty unless kind="tpu"'),
        (
            {"workers": ["a:1", "b:1"], "index": 0, "devices": ["CPU:0"]},
            '`devices` must be None with kind="multi_worker"',
        ),
        (
            {"kind": "tpu", "devices": ["CPU:0"]},
            '`devices` must be None with kind="tpu',
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        strategy(**arguments)
