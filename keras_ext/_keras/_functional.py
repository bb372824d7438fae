"""Whether a model is one that Keras made of its layers.

The class of functional models has no public name: it is known by `Functional`.
"""

import keras


def is_graph(item: object) -> bool:
    """Whether something is a model that says how its layers are connected."""
    if isinstance(item, keras.Sequential):
        return True
    return isinstance(item, keras.Model) and is_functional(item)


def is_functional(model: object) -> bool:
    """Whether `call` of a model is the one of functional models.

    Of a functional model that has a `call` of its own, the layers are not all.
    """
    owner = next(c for c in type(model).__mro__ if "call" in vars(c))
    return owner.__name__ == "Functional" and owner.__module__.startswith("keras.")
