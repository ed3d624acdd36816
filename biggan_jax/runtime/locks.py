"""File locks between the processes of one machine. The system releases the lock of a process that dies."""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def locked(path: Path, busy: Callable[[IO[str]], None]) -> Iterator[IO[str]]:
    """Holds the lock file `path` during the block.

    Args:
      path: Lock file. Its folder is created where it is missing, and the file stays.
      busy: Called with the open file if another process holds the lock. It either raises, or returns to wait.

    Yields:
      The lock file, open for reading and appending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy(file)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@contextlib.contextmanager
def exclusive(folder: Path, name: str, doing: str) -> Iterator[None]:
    """Lets one process at a time execute the block; the others print a line and wait.

    Args:
      folder: Folder in which the block creates something.
      name: Name of what the block creates in `folder`.
      doing: Activity of the process in the block, such as "preparing".
    """

    def busy(_: IO[str]) -> None:
        print(f"another process is {doing} {name} in {folder}: waiting for it", flush=True)

    with locked(folder / f".{name}.lock", busy):
        yield
