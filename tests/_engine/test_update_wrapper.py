import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ext._engine._update_wrapper import UpdateWrapper, read
from keras_ext.gradients import ClipByValue
from keras_ext.optimizers import GradientPipeline, Mechanic, ScheduleFree

SGD, Scaling = keras.optimizers.SGD, keras.optimizers.LossScaleOptimizer


@keras.saving.register_keras_serializable("tests")
class Halved(UpdateWrapper):
    """Halves moves, and keeps how long all gradients together were."""

    def build_state(self, variables):
        self.add_slots(variables, "moves")
        self._length = self.add_number("length")

    def update(self, gradients, variables, apply):
        count, before = self.counted(), read(variables)
        apply(gradients)
        pairs = zip(before, read(variables), strict=True)
        moves = [(end - start) / 2 for start, end in pairs]
        moved = [start + move for start, move in zip(before, moves, strict=True)]
        length = tf.sqrt(tf.add_n([tf.reduce_sum(g**2) for g in gradients]))
        made = self.made_since(count)
        slots = self.slots("moves", variables)
        values = [*moved, *moves, length]
        self.write([*variables, *slots, self._length], values, made)

    @property
    def length(self):
        return float(self._length.numpy())


def weights():
    return [
        keras.Variable([1.0, 2.0], name="kernel"),
        keras.Variable([3.0], name="bias"),
    ]


def stepped(optimizer, variables, gradients):
    """Makes an update as a training step does, with the scale of the loss."""
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step():
        scale = optimizer.scale_loss(tf.constant(1.0))
        optimizer.apply([scale * tf.constant(g) for g in gradients], variables)

    step()


# All with learning rate 1; and where the wrapper is.
PLACES = {
    "alone": lambda: (Halved(SGD(1.0)), "here"),
    "by name": lambda: (Halved({"class_name": "sgd", "config": {}}), None),
    "in a pipeline": lambda: (GradientPipeline(Halved(SGD(1.0))), "inside"),
    "around a pipeline": lambda: (Halved(GradientPipeline(SGD(1.0))), "here"),
    "in loss scaling": lambda: (Scaling(Halved(SGD(1.0))), "inside"),
    "around loss scaling": lambda: (Halved(Scaling(SGD(1.0))), "here"),
    "around fixed scaling": lambda: (Halved(SGD(1.0, loss_scale_factor=8.0)), "here"),
    "around a pipeline around loss scaling": lambda: (
        Halved(GradientPipeline(Scaling(SGD(1.0)))),
        "here",
    ),
    "in a pipeline around fixed scaling": lambda: (
        GradientPipeline(Halved(SGD(1.0, loss_scale_factor=8.0))),
        "inside",
    ),
    "around loss scaling around a pipeline": lambda: (
        Halved(Scaling(GradientPipeline(SGD(1.0)))),
        "here",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_sees_the_gradient_of_the_loss_wherever_it_is(place):
    optimizer, where = PLACES[place]()
    optimizer.learning_rate = 1.0
    variables = weights()
    stepped(optimizer, variables, ([3.0, 0.0], [4.0]))
    np.testing.assert_allclose(variables[0], [-0.5, 2.0])
    np.testing.assert_allclose(variables[1], [1.0])
    wrapper = optimizer.inner_optimizer if where == "inside" else optimizer
    assert wrapper.length == pytest.approx(5.0)
    assert int(optimizer.iterations) == 1


@pytest.mark.parametrize("place", ["around loss scaling", "in loss scaling"])
def test_loss_scaling_leaves_out_what_is_not_finite(place):
    optimizer, _ = PLACES[place]()
    variables = weights()
    stepped(optimizer, variables, ([np.inf, 0.0], [4.0]))
    np.testing.assert_array_equal(variables[0], [1.0, 2.0])
    scaler = getattr(optimizer, "scaler", optimizer)
    assert float(scaler.dynamic_scale) == scaler.initial_scale / 2
    assert int(optimizer.iterations) == 0


def test_what_a_pipeline_within_leaves_out_is_no_update():
    optimizer, variables = Halved(GradientPipeline(SGD(1.0))), weights()
    stepped(optimizer, variables, ([np.nan, 0.0], [4.0]))
    np.testing.assert_array_equal(variables[0], [1.0, 2.0])
    assert optimizer.length == 0.0


def test_averages_are_of_the_weights_that_come_out():
    sgd = SGD(1.0, use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=3)
    optimizer, variables = GradientPipeline(Halved(sgd)), weights()
    optimizer.build(variables)
    average = None
    kernel = np.array([1.0, 2.0])
    for update in range(1, 5):
        optimizer.apply([tf.constant([2.0, -2.0]), None], variables)
        kernel = kernel - [1.0, -1.0]
        average = kernel if average is None else 0.75 * average + 0.25 * kernel
        kernel = average if update == 3 else kernel
        np.testing.assert_allclose(variables[0], kernel)
    optimizer.finalize_variable_values(variables)
    np.testing.assert_allclose(variables[0], average)


def model(optimizer):
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    made.compile(optimizer, "mse", run_eagerly=True)
    return made


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 3)), rng.normal(size=(32, 2))


def test_two_replicas_average_the_weights_of_one(strategies):
    """Keras cannot: in an update of a replica it may not write what all share."""

    def averaged(replicas):
        strategy = strategies(replicas)
        with strategy.scope():
            variables = weights()
            sgd = SGD(0.1, use_ema=True, ema_momentum=0.8)
            optimizer = Halved(GradientPipeline(sgd, [ClipByValue(0.3)]))
            optimizer.build(variables)

        @tf.function(autograph=False)
        def step():
            def apply():
                gradients = [tf.constant([0.5, 0.1]), tf.constant([-0.2])]
                optimizer.apply([g / replicas for g in gradients], variables)

            strategy.run(apply)

        for _ in range(3):
            step()
        optimizer.finalize_variable_values(variables)
        return [*map(np.array, variables), optimizer.length]

    for a, e in zip(averaged(2), averaged(1), strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)


def test_a_constraint_holds_for_the_weights_that_come_out():
    class Doubled(Halved):
        def update(self, gradients, variables, apply):
            before = read(variables)
            apply(gradients)
            pairs = zip(before, read(variables), strict=True)
            self.write(variables, [2 * end - start for start, end in pairs], None)

    kernel, bias = weights()
    kernel.constraint = keras.constraints.NonNeg()
    optimizer = Doubled(SGD(1.0))
    optimizer.apply([tf.constant([5.0, 0.5]), tf.ones(1)], [kernel, bias])
    np.testing.assert_allclose(kernel, [0.0, 1.0])


@pytest.mark.parametrize("kind", [Mechanic, ScheduleFree])
def test_constraints_are_refused_each_time_and_leave_the_model_as_it_was(kind):
    dense = keras.layers.Dense(1, kernel_constraint="non_neg", name="bound")
    model = keras.Sequential([keras.Input((2,)), dense])
    model.compile(kind(SGD(0.1)), "mse", run_eagerly=True)
    before = model.get_weights()
    for _ in range(2):
        with pytest.raises(ValueError, match="with a constraint.*bound/kernel.*Prune"):
            model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    dense.kernel.constraint = None
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)


def test_is_saved_and_goes_on(tmp_path):
    trained, (x, y) = model(Halved(keras.optimizers.Adam(0.1))), data()
    trained.fit(x, y, 8, shuffle=False, verbose=0)
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.length == trained.optimizer.length > 0
    for each in (trained, loaded):
        each.fit(x, y, 8, shuffle=False, verbose=0)
    for a, e in zip(loaded.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(a, e)
    for variables in (loaded.optimizer.variables, trained.optimizer.variables):
        assert len(variables) == 3 + 2 + 4


def test_a_weight_that_its_gradient_replaces_has_no_slot():
    kernel, scale = weights()
    scale.overwrite_with_gradient = True
    optimizer = Halved(SGD(1.0))
    optimizer.apply([tf.constant([2.0, 2.0]), tf.constant([7.0])], [kernel, scale])
    np.testing.assert_allclose(kernel, [0.0, 1.0])
    np.testing.assert_allclose(scale, [7.0])
    assert len(optimizer.own_variables) == 2


def test_half_precision_weights_have_slots_in_float32():
    kernel = keras.Variable([1.0, 2.0], dtype="bfloat16", name="kernel")
    optimizer = Halved(SGD(1.0))
    optimizer.apply([tf.ones(2, tf.bfloat16)], [kernel])
    np.testing.assert_allclose(tf.cast(kernel.value, tf.float32), [0.5, 1.5])
    assert {v.dtype for v in optimizer.own_variables} == {"float32"}


def test_built_while_a_step_is_traced():
    class Copying(UpdateWrapper):
        def build_state(self, variables):
            self.add_slots(variables, "start", copied=True)

    optimizer, variables = Copying(SGD(1.0)), weights()

    @tf.function(autograph=False)
    def step():
        optimizer.apply([tf.ones(2), tf.ones(1)], variables)

    step()
    step()
    np.testing.assert_array_equal(optimizer.own_variables[0], [1.0, 2.0])
    np.testing.assert_array_equal(variables[0], [-1.0, 0.0])


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (3, "must be a Keras optimizer, its name or its config"),
        (SGD(gradient_accumulation_steps=2), "without gradient_accumulation_steps"),
    ],
)
def test_refuses(optimizer, message):
    with pytest.raises(ValueError, match=message):
        Halved(optimizer)


def test_a_step_of_ones_own_may_use_autograph(caplog):
    """Which would try to read the methods here, and warn that it cannot."""
    optimizer, variables = Halved(SGD(1.0)), weights()
    optimizer.build(variables)

    @tf.function
    def step(number):
        for _ in tf.range(number):
            optimizer.apply([tf.ones(2), tf.ones(1)], variables)

    with caplog.at_level("WARNING"):
        tf.get_logger().addHandler(caplog.handler)
        step(tf.constant(2))
        tf.get_logger().removeHandler(caplog.handler)
    np.testing.assert_array_equal(variables[0], [0.0, 1.0])
    assert not caplog.records
