"""The base of everything that is put into a pipeline."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import keras
import numpy as np

from keras_ext._anatomy._unit_axes import Axes, axes_by_identity
from keras_ext._core._pattern import check_pattern, is_selected, require_some
from keras_ext._core._typing import Config, Pattern, Variable
from keras_ext._keras._replica import local_variable
from keras_ext._live._compiled_arguments import CompiledArguments
from keras_ext._live._live_attributes import LiveAttributes


class PipelinePart(CompiledArguments, LiveAttributes):
    """What all parts of a `GradientPipeline` have: chosen weights and a state.

    The kinds of part are `GradientTransform`, which changes the gradients;
    `UpdateGate`, which may leave an update out; `UpdateScale`, which scales what the
    optimizer did to a weight; `AfterUpdate`, which changes the weights afterwards; and
    `GradientSignal`, which measures. Each has one method to override, called while the
    step is traced: it may only use `keras.ops` and the variables made in `build`.

    Args:
        include: Which variables are meant: a regular expression that is searched in
            `variable.path`, a list of them, or a function from variable to bool. None
            means all.
        exclude: Which are not, in the same form. None means none.

    Raises:
        ValueError: If `include` or `exclude` is neither of these.
    """

    # Tells `hyper_variables` to look inside.
    holds_hyper_variables: ClassVar[bool] = True

    def __init__(self, *, include: Pattern = None, exclude: Pattern = None) -> None:
        check_pattern("include", include)
        check_pattern("exclude", exclude)
        self.include = include
        self.exclude = exclude
        self.state: list[Variable] = []
        self._axes: dict[int, Axes] = {}

    @property
    def is_compiled_in(self) -> bool:
        return bool(vars(self).get("_axes"))

    @property
    def name(self) -> str:
        """The name in the paths of its hyperparameters, such as `adaptive_clip`."""
        # Before a capital that begins a word: `ClipUpdateRMS` has three words.
        starts = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
        return re.sub(starts, "_", type(self).__name__).lower()

    @property
    def takes_sparse(self) -> bool:
        """Whether gradients may come as `tf.IndexedSlices` with distinct indices.

        Otherwise those of embeddings are made dense for it.
        """
        return False

    def build(
        self, variables: Sequence[Variable], unit_axes: Mapping[str, Axes]
    ) -> None:
        """Creates the state; `unit_axes` is as `keras_ext.optimizers.unit_axes`.

        Raises:
            ValueError: If no variable is included and not excluded.
        """
        if variables:
            # A part without weights would do nothing, and nobody would know.
            chosen, paths = self.chosen(variables), [v.path for v in variables]
            require_some(chosen, self.include, self.exclude, what="weight", paths=paths)
        self._axes = axes_by_identity(variables, unit_axes)
        self.state = list(self.build_hyper_variables())

    def add_state(
        self,
        shape: Sequence[int],
        name: str,
        initial: np.ndarray | Sequence[float] | float = 0,
        dtype: str = "float32",
    ) -> Variable:
        """Creates a variable in `build`, of zeros if nothing else is said; it is saved.

        Every replica has its own, so that writing it communicates nothing and is
        allowed inside a conditional. They stay the same, since all see the same
        gradients; the host reads that of the first replica.
        """
        variable = local_variable(shape, dtype, name, "only_first_replica", initial)
        self.state.append(variable)
        return variable

    def axes(self, variable: Variable) -> Axes:
        """The axes that a norm per output unit is taken over."""
        return self._axes[id(variable)]

    def chooses(self, variable: Variable) -> bool:
        """Whether a variable is included and not excluded."""
        return is_selected(variable, self.include, self.exclude)

    def chosen(self, variables: Sequence[Variable]) -> list[Variable]:
        """Those that are included and not excluded, in their order."""
        return [variable for variable in variables if self.chooses(variable)]

    def check(self) -> None:
        """Raises if training should not go on; called on the host now and then.

        The callbacks of this library call it every 50 batches and after each epoch.
        """

    def leave_checks_to_host(self) -> None:
        """Keeps the step itself from failing, since `check` is called often enough."""

    def get_config(self) -> Config:
        return {"include": self.include, "exclude": self.exclude}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        for name in ("include", "exclude"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
