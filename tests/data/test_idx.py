"""idx files as they should be, and in the ways they break."""

import gzip
import struct

import numpy as np
import pytest

from biggan_jax.data import DataError
from biggan_jax.data.idx import read_idx

VALUES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx_bytes(values: np.ndarray, magic: int = 0x0803) -> bytes:
    return struct.pack(f">I{values.ndim}I", magic, *values.shape) + values.tobytes()


def test_values_come_back_in_their_shape(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(VALUES)))
    np.testing.assert_array_equal(read_idx(path, (None, 3, 4)), VALUES)


BROKEN = {
    "labels": (gzip.compress(idx_bytes(VALUES, magic=0x0801)), "starts with the number 2049, .* with 2051"),
    "floats": (gzip.compress(idx_bytes(VALUES, magic=0x0D03)), "starts with the number 3331"),
    "header cut off": (gzip.compress(idx_bytes(VALUES)[:10]), "ends within its header"),
    "no content": (gzip.compress(b""), "starts with the number 0"),
    "value missing": (gzip.compress(idx_bytes(VALUES)[:-1]), "2×3×4 = 24 values but has 23"),
    "value too many": (gzip.compress(idx_bytes(VALUES) + b"x"), "2×3×4 = 24 values but has 25"),
    "other shape": (gzip.compress(idx_bytes(VALUES.reshape(2, 4, 3))), "holds 2×4×3 values, must be N×3×4"),
    "gzip cut off": (gzip.compress(idx_bytes(VALUES))[:-9], "damaged or incomplete"),
    "not gzipped": (idx_bytes(VALUES), "Not a gzipped file"),
    "empty file": (b"", "starts with the number 0"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, kind):
    content, complaint = BROKEN[kind]
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as error:
        read_idx(path, (None, 3, 4))
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere.gz cannot be read"):
        read_idx(tmp_path / "nowhere.gz", (None,))
