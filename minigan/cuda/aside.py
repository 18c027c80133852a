"""Work beside the chain of launches: gradients of parameters, which nobody needs before the update.

Going back through a network, each launch waits for the one before, but for those that add to the gradient of a weight
or a bias: the next layer down does not need these. Nor does G need what D has learnt, where both move at once. Within
`beside(...)` they go to a second stream, which waits for what has been launched so far, while the first one goes on;
`gathered` lets the first wait for the second.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from minigan.typing import Array

_second: "_Second | None" = None  # in use


class _Second:
    """The second stream, and what it still reads."""

    def __init__(self, cuda: Any, stream: Any) -> None:
        self._cuda, self._stream = cuda, stream
        self._read: list[Array] = []  # by work that the first stream has not waited for

    @contextmanager
    def turn(self, read: tuple[Array, ...]) -> Iterator[None]:
        first = self._cuda.get_current_stream()
        self._stream.wait_event(self._mark(first))
        self._read += read
        with self._stream:
            yield

    def join(self) -> None:
        current = self._cuda.get_current_stream()
        if self._read and current != self._stream:  # which has what it launched before anyway
            current.wait_event(self._mark(self._stream))
            self._read.clear()

    def _mark(self, stream: Any) -> Any:
        event = self._cuda.Event(disable_timing=True)
        event.record(stream)
        return event


@contextmanager
def beside(cuda: Any, stream: Any) -> Iterator[None]:
    """Use this stream as the second one, until the end of the block, where the first one waits for it."""
    global _second
    assert _second is None
    _second = _Second(cuda, stream)
    try:
        yield
        _second.join()
    finally:
        _second = None


def aside(read: Array, *others: Array) -> AbstractContextManager[None]:
    """See `minigan.ops.aside`: a block of launches that read these arrays.

    Their memory must not be given to somebody else before, so they are kept. What the block allocates is the second
    stream's, and so are its later owners. Without a second stream the block launches on the current one.
    """
    return nullcontext() if _second is None else _second.turn((read, *others))


def gathered(gradients: Array) -> Array:
    """See `minigan.ops.gathered`: what is launched from here on waits for all that went aside."""
    if _second is not None:
        _second.join()
    return gradients
