"""Controllers: what to do about a measurement. Plain Python, without Keras."""

from keras_ext.controllers import batch_size
from keras_ext.controllers._controller import Controller
from keras_ext.controllers.continuous._hypergradient import Hypergradient
from keras_ext.controllers.continuous._pi import PI
from keras_ext.controllers.continuous._plateau import Plateau
from keras_ext.controllers.discrete._bandit import Bandit
from keras_ext.controllers.discrete._population_based import PopulationBased

__all__ = [
    "Bandit",
    "Controller",
    "Hypergradient",
    "PI",
    "Plateau",
    "PopulationBased",
    "batch_size",
]
