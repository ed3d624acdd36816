"""NumPy's .npz files: reading those of other programs, and writing arrays larger than memory.

Nothing in a file is executed: arrays of Python objects are refused.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from biggan_jax.runtime.errors import UserError


def open_npz(path: Path) -> np.lib.npyio.NpzFile:
    """Opens an .npz file, which reads each array on access.

    Raises:
      UserError: The file does not exist, is damaged, or is of another kind.
    """
    try:
        file = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except Exception as error:  # whatever zipfile, zlib, tokenize and NumPy raise for a damaged file
        raise UserError(f"{path} is no .npz file, or a damaged one ({_reason(error)})") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise UserError(f"{path} holds one array; give an .npz, as numpy.savez writes it")
    return file


def read_array(file: np.lib.npyio.NpzFile, path: Path, key: str) -> np.ndarray:
    """Reads one array of an open .npz file.

    Args:
      file: Open file.
      path: Its path, for messages.
      key: Name of the array.

    Raises:
      UserError: The array is cut short, or holds Python objects.
    """
    try:
        array = file[key]
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of what does not begin as an array
            raise ValueError("it is no array")
        return array
    except Exception as error:
        raise UserError(f"{path}: '{key}' cannot be read ({_reason(error)}); get the file again") from error


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def write_array(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    parts: Iterable[np.ndarray],
) -> None:
    """Adds an array to an .npz file part by part, so that memory never holds all of it.

    Args:
      archive: Zip file that is open for writing.
      name: Name of the array.
      shape: Shape of the complete array.
      dtype: Type of the array and of all parts.
      parts: Consecutive slices along the first axis.
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
