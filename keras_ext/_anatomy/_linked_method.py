"""Methods of one object, with links around them that may leave in any order."""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

_CHAINS = "_keras_ext_chains"

Method = Callable[..., Any]
Link = Callable[[Method], Method]


class _Chain:
    """The links around one method, from the inside out."""

    def __init__(self, owner: object, name: str) -> None:
        # What somebody else has put on this very object, if anybody has.
        self.before = vars(owner).get(name)
        self.original: Method = getattr(owner, name)
        self.links: list[Link] = []
        self.outer_links: list[Link] = []
        self.composed = self.original

        @functools.wraps(self.original)
        def method(*args: object, **kwargs: object) -> object:
            return self.composed(*args, **kwargs)

        self.method = method

    def compose(self) -> None:
        self.composed = self.original
        for link in (*self.links, *self.outer_links):
            self.composed = link(self.composed)


def link_method(
    owner: object, name: str, link: Link, outermost: bool = False
) -> Callable[[], None]:
    """Puts a link around a method of one object.

    Args:
        owner: The object.
        name: The name of the method.
        link: Function from the method within to the one to call in its place, neither
            of which takes the object. It may be called again when other links go.
        outermost: Whether it stays around those that come later. Defaults to `False`.

    Returns:
        A function that takes the link off, at any time and in any order; the object is
        as it was when the last one has gone.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._linked_method import link_method
        >>> layer = keras.layers.ReLU()
        >>> first = link_method(layer, "call", lambda call: lambda x: call(x) + 1)
        >>> second = link_method(layer, "call", lambda call: lambda x: 10 * call(x))
        >>> print(layer.call(keras.ops.array([2.0])).numpy())
        [30.]
        >>> first()
        >>> print(layer.call(keras.ops.array([2.0])).numpy())
        [20.]
        >>> second()
        >>> "call" in vars(layer)
        False
    """
    chains = vars(owner).get(_CHAINS)
    if chains is None:
        chains = {}
        # Past Keras's attribute tracking.
        object.__setattr__(owner, _CHAINS, chains)
    if name not in chains:
        chains[name] = _Chain(owner, name)
        object.__setattr__(owner, name, chains[name].method)
    chain = chains[name]
    links = chain.outer_links if outermost else chain.links
    links.append(link)
    chain.compose()

    def undo() -> None:
        if link not in links:
            return
        links.remove(link)
        chain.compose()
        if not (chain.links or chain.outer_links):
            _remove(owner, name, chain)

    return undo


def _remove(owner: object, name: str, chain: _Chain) -> None:
    chains = vars(owner)[_CHAINS]
    del chains[name]
    if not chains:
        object.__delattr__(owner, _CHAINS)
    # Who replaced the method meanwhile keeps what they have put there.
    if vars(owner).get(name) is chain.method:
        object.__delattr__(owner, name)
        if chain.before is not None:
            object.__setattr__(owner, name, chain.before)


def replace_method(owner: object, name: str, method: Method) -> Callable[[], None]:
    """Puts a function in the place of a method of one object, see `link_method`.

    Args:
        owner: The object.
        name: The name of the method.
        method: What is called instead, without the object.

    Returns:
        A function that undoes it.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._linked_method import replace_method
        >>> layer = keras.layers.ReLU()
        >>> undo = replace_method(layer, "call", lambda inputs: "nothing")
        >>> layer.call([1.0])
        'nothing'
        >>> undo()
        >>> "call" in vars(layer)
        False
    """
    return link_method(owner, name, lambda _: method)


@contextmanager
def linked_calls(
    layers: Iterable[keras.Operation], link_of: Callable[[keras.Operation], Link]
) -> Iterator[None]:
    """Puts links around the `call` of layers, for the time of a block.

    Args:
        layers: The layers or operations, each once.
        link_of: Function from a layer to its link.

    Examples:
        >>> import keras
        >>> from keras_ext._anatomy._linked_method import linked_calls
        >>> layer = keras.layers.ReLU()
        >>> with linked_calls([layer], lambda layer: lambda call: lambda x: "linked"):
        ...     layer.call([1.0])
        'linked'
        >>> "call" in vars(layer)
        False
    """
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(link_method(layer, "call", link_of(layer)))
        yield
