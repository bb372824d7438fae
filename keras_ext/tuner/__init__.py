"""Search for hyperparameters on KerasTuner and Optuna, imported when they are used."""

from typing import TYPE_CHECKING

from keras_ext._core._on_demand import on_demand
from keras_ext.tuner import spaces

if TYPE_CHECKING:
    from keras_ext.tuner._asha import ASHA
    from keras_ext.tuner._bayesian_optimization import BayesianOptimization
    from keras_ext.tuner._bohb import BOHB
    from keras_ext.tuner._cost import Cost
    from keras_ext.tuner._evolution import Evolution
    from keras_ext.tuner._gaussian_process_oracle import GaussianProcessOracle
    from keras_ext.tuner._grid_search import GridSearch
    from keras_ext.tuner._hyperband import Hyperband
    from keras_ext.tuner._median_stopping import MedianStopping
    from keras_ext.tuner._optuna_oracle import OptunaOracle
    from keras_ext.tuner._oracle import Oracle
    from keras_ext.tuner._population_based_training import PopulationBasedTraining
    from keras_ext.tuner._random_search import RandomSearch
    from keras_ext.tuner._ray_trials import RayTrials
    from keras_ext.tuner._recommend import recommend
    from keras_ext.tuner._space_model import SpaceModel
    from keras_ext.tuner._tuner import Tuner

__all__ = [
    "ASHA",
    "BOHB",
    "BayesianOptimization",
    "Cost",
    "Evolution",
    "GaussianProcessOracle",
    "GridSearch",
    "Hyperband",
    "MedianStopping",
    "OptunaOracle",
    "Oracle",
    "PopulationBasedTraining",
    "RandomSearch",
    "RayTrials",
    "SpaceModel",
    "Tuner",
    "recommend",
    "spaces",
]

__getattr__ = on_demand(__name__, __all__, extra="tuner")


def __dir__() -> list[str]:
    """What there is to complete, before it was asked for."""
    return __all__
