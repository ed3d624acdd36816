"""Reads .npz files that other programs wrote; nothing in them is executed."""

import zipfile
from pathlib import Path

import numpy as np

from biggan_jax.runtime.errors import UserError


def open_npz(path: Path) -> np.lib.npyio.NpzFile:
    """Opens an .npz, from which arrays are read as they are asked for.

    Raises:
      UserError: there is no such file, or it is of another kind.
    """
    try:
        file = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no .npz file, or a damaged one ({error})") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise UserError(f"{path} holds one array; give an .npz, as numpy.savez writes it")
    return file


def read_array(file: np.lib.npyio.NpzFile, path: Path, key: str) -> np.ndarray:
    """One array of an open .npz.

    Raises:
      UserError: it is cut short, or holds Python objects.
    """
    try:
        return file[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: '{key}' cannot be read ({error}); get the file again") from error
