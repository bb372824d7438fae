"""The owner of everything that callbacks put on a model for one `fit`."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import keras

from keras_ext._anatomy._linked_method import Link, link_method
from keras_ext._core._checks import require
from keras_ext._core._typing import Optimizer, Record
from keras_ext._keras._model_runs import is_running
from keras_ext._keras._optimizer_slots import built_variables
from keras_ext._live._hyperparameter import Hyperparameter
from keras_ext._live._live_value import LiveFloat, LiveValue

_SCOPE = "_keras_ext_scope"


class FitScope:
    """What callbacks have put on a model, and how all of it is taken off again.

    Callbacks join it in `set_model`, put their things on the model through it, and
    leave at the end of training. When the last one has left, everything is undone, the
    last thing first, and Keras traces the step anew. A `fit` that ends in another way,
    with an exception or Ctrl-C anywhere, undoes it as well, by itself. In a loop
    without `fit` that is left to `detach`, or to the next who joins.

    Args:
        model: The model.
    """

    def __init__(self, model: keras.Model) -> None:
        # Weakly, so that who saves what is on the model does not come back to it.
        self._model: weakref.ref[keras.Model] = weakref.ref(model)
        self._owners: list[object] = []
        self._undo = ExitStack()
        self._finish: list[Callable[[], None]] = []
        self._movers: dict[int, tuple[object, object]] = {}
        self._begun = False
        # What was traced before anything was put there.
        self._train_function = getattr(model, "train_function", None)
        # A loop without `fit` may call `evaluate`: that ends no scope of the loop.
        self._in_run = is_running(model)
        # By name, what callbacks share, such as the pipeline of gradients.
        self.shared: Record = {}

    @classmethod
    def present(cls, model: keras.Model) -> "FitScope | None":
        """The scope that is open on a model, if there is one."""
        return vars(model).get(_SCOPE)

    @classmethod
    @contextmanager
    def joining(cls, model: keras.Model, owner: object) -> Iterator["FitScope"]:
        """Adds an owner to the scope of the run that begins, opened if need be.

        Gives the scope. If what is done with it fails, all is undone.

        Raises:
            ValueError: If the owner is in it already, or training has begun.
        """
        scope = cls.present(model)
        if scope is not None and (scope._begun or scope.has(owner)):
            scope._require_left_behind(owner)
            scope.close()
            scope = None
        if scope is None:
            scope = cls(model)
            scope._require_traceable()
            # Past Keras's attribute tracking.
            object.__setattr__(model, _SCOPE, scope)
        scope._owners.append(owner)
        # Makes `fit` trace the step anew, with what is put there.
        model.train_function = None
        try:
            yield scope
        except BaseException:
            scope.close()
            raise

    def has(self, owner: object) -> bool:
        """Whether it has joined, and not left."""
        return any(owner is other for other in self._owners)

    def _require_left_behind(self, owner: object) -> None:
        name = type(owner).__name__
        twice = "once in the list, and in no other `fit` of the model while it trains"
        require(not is_running(self._model()), "callbacks", name, twice)

    def _require_traceable(self) -> None:
        """Raises if the step, traced anew, would give the optimizer unknown weights."""
        optimizer = getattr(self.model, "optimizer", None)
        is_own = type(self.model).train_step is not keras.Model.train_step
        if isinstance(optimizer, keras.optimizers.Optimizer) and not is_own:
            _require_built_for(self.model, optimizer)

    @property
    def model(self) -> keras.Model:
        """The model."""
        return self._model()

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the model.

        Raises:
            ValueError: If it has none, or one that does not know all weights.
        """
        optimizer = getattr(self.model, "optimizer", None)
        valid = isinstance(optimizer, keras.optimizers.Optimizer)
        hint = "Call model.compile(optimizer=...) before fit."
        require(valid, "model.optimizer", optimizer, "a Keras optimizer", hint)
        _require_built_for(self.model, optimizer)
        return optimizer

    def begin(self) -> None:
        """Ends the time of joining, once; called when training begins."""
        self._begun = True

    def leave(self, owner: object) -> None:
        """Takes an owner out; with the last one, undoes everything."""
        self._owners = [other for other in self._owners if other is not owner]
        if not self._owners:
            for finish in self._finish:
                finish()
            self.close()

    def on_finish(self, finish: Callable[[], None]) -> None:
        """Calls a function when the last owner leaves, and not if training fails."""
        self._finish.append(finish)

    def on_close(self, undo: Callable[[], None]) -> None:
        """Calls a function when everything is undone, those added last first."""
        self._undo.callback(undo)

    def link(self, name: str, link: Link, outermost: bool = False) -> None:
        """Puts a link around a method of the model, see `link_method`."""
        self.on_close(link_method(self.model, name, link, outermost))

    def wrap_optimizer(self, wrapper: Optimizer) -> None:
        """Puts a `ForwardingOptimizer` in the place of the optimizer that it wraps."""
        # Past Keras's attribute tracking: a `tf.train.Checkpoint` of the model saves
        # what it was compiled with.
        object.__setattr__(self.model, "optimizer", wrapper)

        def unwrap() -> None:
            # Who compiled the model meanwhile keeps what they have put there.
            if self.model.optimizer is wrapper:
                object.__setattr__(self.model, "optimizer", wrapper.optimizer)

        self.on_close(unwrap)

    def claim(self, what: object, path: str, owner: object) -> None:
        """Notes who moves something of the model, such as a live value.

        Raises:
            ValueError: If somebody else does.
        """
        _, mover = self._movers.setdefault(id(what), (what, owner))
        names = [type(x).__name__ for x in (mover, owner)]
        hint = "Let one of them leave it out."
        one = f"such that one of them moves {path!r}"
        require(mover is owner, "callbacks", names, one, hint)

    def make_live(
        self, chosen: Sequence[Hyperparameter], owner: object
    ) -> list[LiveValue]:
        """Makes numbers of the model live for this time, to be moved by an owner.

        Args:
            chosen: Some of the `knobs` of the model.
            owner: Who moves them.

        Returns:
            The live values. Those that were live before stay so.

        Raises:
            ValueError: If somebody else moves one of them.
        """
        values = []
        for knob in chosen:
            live = knob.make_live(self.model)
            self.claim(live, knob.path, owner)
            if knob.live is None:
                live.temporary = True
                self.on_close(_make_plain(knob, live))
            values.append(live)
        return values

    def close(self) -> None:
        """Undoes everything; the model is as if nobody had joined."""
        model = self.model
        if self.present(model) is self:
            object.__delattr__(model, _SCOPE)
        self._owners.clear()
        self._finish.clear()
        try:
            self._undo.close()
        finally:
            # If it came to nothing, the model goes on as if there had been no `fit`.
            model.train_function = None if self._begun else self._train_function


def _require_built_for(model: keras.Model, optimizer: Optimizer) -> None:
    """Raises if an optimizer was built for other weights than those to be trained."""
    if not optimizer.built:
        return
    known = {id(v) for v in built_variables(optimizer)}
    unknown = [v.path for v in model.trainable_variables if id(v) not in known]
    hint = (
        "Call model.compile(...) with a new optimizer after `trainable` was changed, "
        f"and for each model. It does not know {unknown[:3]}."
    )
    rule = "one that was built for all the trainable weights"
    require(not unknown, "model.optimizer", type(optimizer).__name__, rule, hint)


def close_scope(model: keras.Model) -> None:
    """Undoes what is on a model, if anything is."""
    scope = FitScope.present(model)
    if scope is not None:
        scope.close()


def close_left_open(model: keras.Model) -> None:
    """Undoes what a run of the model has left on it, and what a loop has not."""
    scope = FitScope.present(model)
    if scope is not None and scope._in_run:
        scope.close()


def _make_plain(knob: Hyperparameter, live: LiveValue) -> Callable[[], None]:
    made = replace(knob, value=LiveFloat(live))

    def make_plain() -> None:
        # Unless `make_live` has made it live for good meanwhile.
        if live.temporary:
            made.make_plain()

    return make_plain
