"""Files that a person asked for by --output: checked before long work, then there whole or not at all."""

import contextlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from biggan_jax.runtime.errors import UserError


def refuse_unwritable(path: Path, overwrite: bool) -> None:
    """Makes the folder that `path` is to be in.

    Args:
      path: of a file to come.
      overwrite: whether it may take the place of another.

    Raises:
      UserError: there cannot be such a file, or there is one that must stay.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise UserError(f"--output={path} is a folder: give the name of a file")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already: remove it, or choose another --output")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write to {path.parent}: choose another --output")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which is at `path` when the block has ended well, and nowhere if not.

    Raises:
      UserError: the disk is full, or cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    with _explained(path):
        try:
            with part.open("wb") as file:
                yield file
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def write_array(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: type, parts: Iterable[np.ndarray]
) -> None:
    """Adds an array to an .npz part by part, so that it is never in memory as a whole.

    Args:
      archive: open for writing.
      name: the array's.
      shape: of the whole.
      dtype: of the whole and all parts.
      parts: in order along the first axis.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free some space and run the same command "
            "again, or choose another --output"
        ) from error
