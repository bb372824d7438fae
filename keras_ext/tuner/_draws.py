"""Random numbers of a search, by what they are for."""

import hashlib

import numpy as np


def draw(seed: int, trial: int, attempt: int, name: str) -> float:
    """A number in [0, 1), the same whenever the same is asked for.

    KerasTuner seeds Python's generator with the seed plus how many values were drawn,
    so that neighbouring seeds share nearly all configurations, shifted. Here a new
    hyperparameter changes nothing of what the others draw, and neither does a restart.

    Args:
        seed: The seed of the search.
        trial: The number of the trial.
        attempt: How many configurations of this trial had been tried before.
        name: The hyperparameter.
    """
    # Not `hash`, which differs from process to process for texts.
    digest = hashlib.sha256(name.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in (0, 4)]
    sequence = np.random.SeedSequence([seed, trial, attempt, *words])
    # The 53 bits that a float holds: more could be rounded to 1.
    return int(sequence.generate_state(1, np.uint64)[0] >> 11) * 2.0**-53
