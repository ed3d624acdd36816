"""File locks between processes. The system releases the lock of a process that dies."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def locked(path: Path, busy: Callable[[IO[str]], None], temporary: bool = False) -> Iterator[IO[str]]:
    """Holds the lock file `path` during the block.

    Args:
      path: Lock file. Its folder is created where it is missing.
      busy: Called with the open file if another process holds the lock. It either raises, or returns to wait.
      temporary: Whether the file goes at the end of the block. Otherwise it stays.

    Yields:
      The lock file, open for reading and appending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        while True:
            with contextlib.ExitStack() as attempt:
                file = attempt.enter_context(path.open("a+"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    busy(file)
                    fcntl.flock(file, fcntl.LOCK_EX)
                if _is_same_file(file, path):  # otherwise the holder before has removed the file at its end
                    stack.enter_context(attempt.pop_all())
                    break
        if temporary:
            stack.callback(path.unlink, missing_ok=True)
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


def _is_same_file(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
