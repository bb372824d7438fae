"""What a population that trains is, in files."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from keras_ext._core._typing import Record
from keras_ext.controllers.discrete._population_based import PopulationBased
from keras_ext.tuner._project_files import read_json, write_json

_NAME = "population.json"
# From settings, and what they were moved to, to those that count.
Placed: TypeAlias = Callable[
    [Mapping[str, float], Mapping[str, float]], dict[str, float]
]


@dataclass
class Member:
    """One of them.

    Args:
        trial_id: Its trial.
        weights: The file with its weights and its optimizer.
        epoch: How many epochs it has been trained.
        score: What its last epoch has reported; None before the first.
        best: The cost of its best epoch, and of this the settings.
    """

    trial_id: str
    weights: str
    epoch: int = 0
    score: float | None = None
    best: float | None = None
    best_settings: dict[str, float] | None = None


def lineage_in(folder: str) -> list[Record]:
    """Who went on as whom, in the project of a folder."""
    saved = read_json(os.path.join(folder, _NAME)) or {}
    return list(saved.get("lineage", []))


class PopulationState:
    """The members, their settings, and who went on as whom: written as a whole.

    Args:
        folder: That of the project.
        population: What decides, whose settings and generator are kept.
    """

    def __init__(self, folder: str, population: PopulationBased) -> None:
        self._folder = folder
        self.population = population
        self.members: list[Member] = []
        self.lineage: list[Record] = []
        self.num_rounds = 0

    @classmethod
    def exists(cls, folder: str) -> bool:
        """Whether a population was begun in a folder."""
        return read_json(os.path.join(folder, _NAME)) is not None

    def load(self) -> None:
        """Takes what was written last."""
        saved = read_json(os.path.join(self._folder, _NAME))
        self.members = [Member(**member) for member in saved["members"]]
        for member in self.members:
            # The folder may have another name now, or the same be given otherwise.
            own = Path(member.weights).parts[-3:]
            member.weights = os.path.join(self._folder, *own)
        self.lineage, self.num_rounds = saved["lineage"], saved["num_rounds"]
        self.population.settings = saved["settings"]
        # The generator goes on where it was: a search that is interrupted is the same.
        self.population._random.bit_generator.state = saved["random"]

    def save(self) -> None:
        """Replaces what was written, and removes weights that nobody goes on from."""
        state = {
            "members": [asdict(member) for member in self.members],
            "lineage": self.lineage,
            "num_rounds": self.num_rounds,
            "settings": self.population.settings,
            "random": self.population._random.bit_generator.state,
        }
        write_json(os.path.join(self._folder, _NAME), state)
        # After the state: until that is whole, the one before it needs its files.
        kept = {member.weights for member in self.members}
        for member in self.members:
            folder = self._folder_of(member.trial_id)
            for name in os.listdir(folder):
                if os.path.join(folder, name) not in kept:
                    with contextlib.suppress(FileNotFoundError):
                        os.remove(os.path.join(folder, name))

    def file_of(self, trial_id: str, epoch: int) -> str:
        """Where the weights of a member are to be written."""
        return os.path.join(self._folder_of(trial_id), f"{epoch}.weights.h5")

    def _folder_of(self, trial_id: str) -> str:
        folder = os.path.join(self._folder, f"trial_{trial_id}", "population")
        os.makedirs(folder, exist_ok=True)
        return folder

    def compete(self, placed: Placed | None = None) -> None:
        """Lets the worst go on as the best, with other settings: a round has ended.

        Args:
            placed: What makes of settings, and of what they were moved to, those that
                count. None means the latter.
        """
        scores = [
            m.score if m.score is not None else float("nan") for m in self.members
        ]
        before = [dict(member) for member in self.population.settings]
        sources = self.population.update(scores)
        self.num_rounds += 1
        # Of before the round: a source may itself go on as another.
        files = [member.weights for member in self.members]
        for i, source in enumerate(sources):
            # Nothing is copied: the next training begins with the file of the other.
            self.members[i].weights = files[source]
            if placed is not None and source != i:
                moved = self.population.settings[i]
                self.population.settings[i] = placed(before[source], moved)
            row = {
                "round": self.num_rounds,
                "trial_id": self.members[i].trial_id,
                "source": self.members[source].trial_id,
                "score": self.members[i].score,
                "settings": dict(self.population.settings[i]),
            }
            self.lineage.append(row)
