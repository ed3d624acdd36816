"""Ends a program in silence when the reader of its output leaves, as in `… --help | head`."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator

from biggan_jax.runtime.errors import EXIT_BROKEN_PIPE


@contextlib.contextmanager
def silent_without_reader() -> Iterator[None]:
    """Exits with the code that shells give if standard output breaks inside the block, or at its end."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # an error that the interpreter's own exit raises could not be caught
    except (BrokenPipeError, SystemExit) as error:
        if not _reader_left(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_BROKEN_PIPE)


def _reader_left(error: BaseException) -> bool:
    """Returns whether the error says that standard output is a pipe which nobody reads any more."""
    if isinstance(error, SystemExit):  # rich has caught the error itself, and closed standard output
        return isinstance(error.__context__, BrokenPipeError)
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))  # otherwise the pipe is another one, or a socket
