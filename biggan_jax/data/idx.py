"""Reads the idx format of MNIST and its successors: a magic number, the sizes, then the bytes, all gzipped.

Described at the end of http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from biggan_jax.data.source import DataError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    """Reads a gzipped idx file of unsigned bytes.

    Args:
      path: Path of the file.
      shape: Required sizes; None where any size is allowed.

    Returns:
      u8 array with the sizes in the file's header.

    Raises:
      DataError: The file is missing, is not a gzip or idx file, has other sizes, or its length contradicts
        its header.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except OSError as error:  # also gzip.BadGzipFile
        raise DataError(f"{path} cannot be read ({error}): download the file again") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or incomplete ({error}): download the file again") from error

    magic = UNSIGNED_BYTE << 8 | len(shape)
    actual = int.from_bytes(content[:4], "big")
    if actual != magic:
        raise DataError(
            f"{path} starts with the number {actual}, but an idx file of this kind starts with {magic}: "
            "download it again"
        )
    header = 4 + 4 * len(shape)
    if len(content) < header:
        raise DataError(f"{path} ends within its header, after {len(content)} bytes: download the file again")
    sizes = struct.unpack(f">{len(shape)}I", content[4:header])
    if any(expected not in (None, size) for expected, size in zip(shape, sizes, strict=True)):
        expected = "×".join("N" if size is None else str(size) for size in shape)
        raise DataError(
            f"{path} holds {'×'.join(map(str, sizes))} values, must be {expected}: get the right file"
        )
    if len(content) - header != math.prod(sizes):
        raise DataError(
            f"{path} says it holds {'×'.join(map(str, sizes))} = {math.prod(sizes):,} values but has "
            f"{len(content) - header:,}: download the file again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)
