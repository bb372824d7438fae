"""Optimizers with a share of their learning rate."""

from typing import Any

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_ext._core._typing import Config, Tensor


def slowed(config: Any, rate: float) -> Any:
    """The config of an optimizer, or of one around it, with a share of its rate.

    Args:
        config: As `keras.optimizers.serialize` gives it.
        rate: What the learning rate, a number or a schedule, is multiplied by.
    """
    if rate == 1.0 or not isinstance(config, dict):
        return config
    found = {key: slowed(value, rate) for key, value in config.items()}
    given = config.get("learning_rate")
    if isinstance(given, float | int):
        found["learning_rate"] = rate * given
    elif isinstance(given, dict):
        # Keras lets no number take the place of a schedule.
        schedule = keras.saving.deserialize_keras_object(given)
        share = ShareOfSchedule(schedule, rate)
        found["learning_rate"] = keras.saving.serialize_keras_object(share)
    return found


@keras.saving.register_keras_serializable(package="keras_ext")
class ShareOfSchedule(LearningRateSchedule):
    """A schedule that gives a share of what another one gives.

    Args:
        schedule: The other one.
        rate: The share.
    """

    def __init__(self, schedule: LearningRateSchedule, rate: float) -> None:
        self.schedule = schedule
        self.rate = rate

    def __call__(self, step: Tensor) -> Tensor:
        return self.rate * self.schedule(step)

    def get_config(self) -> Config:
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "rate": self.rate}

    @classmethod
    def from_config(cls, config: Config) -> "ShareOfSchedule":
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["rate"])
