"""Memory that runs out, on a device or on the host, as an error with the remedy in place of a traceback."""

import contextlib
from collections.abc import Callable, Iterator

from biggan_jax.runtime.errors import UserError

# The type that JAX raises for all errors of XLA, by name: this module does not wait for JAX.
_OF_XLA = {"JaxRuntimeError", "XlaRuntimeError"}
_ON_DEVICE = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory")


@contextlib.contextmanager
def enough_memory(remedy: Callable[[], str]) -> Iterator[None]:
    """Turns the error of memory that runs out inside the block into a `UserError`.

    The exit code is then that of a user error, after which no launcher starts the command again.

    Args:
      remedy: Function that returns what makes the work smaller, such as "lower --batch_size".
    """
    try:
        yield
    except Exception as error:
        place = _place(error)
        if place is None:
            raise
        lines = str(error).strip().splitlines()
        reason = f" ({lines[0].removeprefix('RESOURCE_EXHAUSTED: ')})" if lines else ""
        raise UserError(f"{place} is out of memory{reason}: {remedy()}") from error


def _place(error: Exception) -> str | None:
    """Returns where memory ran out; None for another error."""
    if isinstance(error, MemoryError):
        return "this machine"
    of_xla = any(kind.__name__ in _OF_XLA for kind in type(error).__mro__)
    return "the device" if of_xla and any(words in str(error) for words in _ON_DEVICE) else None
