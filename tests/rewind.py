"""Models that begin anew, which costs less than new models."""

import functools

import keras


def rewound(make):
    """Lets a function that makes a compiled model return the same one each time.

    Its weights, seeds and the state of its optimizer are those at first; what has been
    traced is kept. Not for models whose layers a test changes, nor for two at a time.
    """
    made = {}

    @functools.wraps(make)
    def again(**arguments):
        policy = keras.config.dtype_policy().name
        key = policy, *sorted(arguments.items())
        model, optimizer, first = made.get(key, (None, None, None))
        # After a test that failed, the model may be left with another optimizer.
        if model is None or model.optimizer is not optimizer:
            model = make(**arguments)
            optimizer = model.optimizer
            optimizer.build(model.trainable_variables)
            first = [keras.ops.convert_to_numpy(v).copy() for v in _state(model)]
            made[key] = model, optimizer, first
        for variable, value in zip(_state(model), first, strict=True):
            variable.assign(value)
        return model

    return again


def _state(model):
    return [*model.variables, *model.optimizer.variables]
