"""What `torch.save` writes, in both of its formats, written without PyTorch: files for the tests.

`test_torch_files.py` has PyTorch itself read them.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterable
from typing import Any

import numpy as np

STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
HEADER = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})


def pickled(value: Any, storages: dict[str, np.ndarray]) -> bytes:
    """The instructions (pickle, protocol 2) that put `value` on the stack; adds the numbers to `storages`."""
    if isinstance(value, np.ndarray):
        key, strides = str(len(storages)), tuple(step // value.itemsize for step in value.strides)
        storages[key] = value
        kind = f"ctorch\n{STORAGES[value.dtype.name]}\n".encode()
        texts = [pickled(text, storages) for text in (key, "cpu")]
        identity = b"(" + pickled("storage", storages) + kind + b"".join(texts) + integer(value.size) + b"NtQ"
        rest = [pickled(part, storages) for part in (0, value.shape, strides, False)]
        hooks = b"ccollections\nOrderedDict\n)R"
        return b"ctorch._utils\n_rebuild_tensor_v2\n(" + identity + b"".join(rest) + hooks + b"tR"
    if isinstance(value, dict):
        items = [pickled(part, storages) for item in value.items() for part in item]
        return b"ccollections\nOrderedDict\n)R(" + b"".join(items) + b"u"
    if isinstance(value, tuple):
        return b"(" + b"".join(pickled(part, storages) for part in value) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(pickled(part, storages) for part in value) + b"e"
    return pickle.dumps(value, 2)[2:-1]  # without the header and the end


def integer(number: int) -> bytes:
    return pickle.dumps(number, 2)[2:-1]


def program(instructions: bytes) -> bytes:
    """Instructions as a whole pickle."""
    return b"\x80\x02" + instructions + b"."


def zip_file(data: bytes, storages: dict[str, np.ndarray], **members: bytes) -> bytes:
    """A file as of PyTorch 1.6 and later, around a pickle."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        # Only the older format says, in a sixth part, whether a storage is part of another.
        archive.writestr("archive/data.pkl", data.replace(b"NtQ", b"tQ"))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", members.pop("byteorder", b"little"))
        for name, array in storages.items():
            archive.writestr(f"archive/data/{name}", array.tobytes(order="A"))
        for name, member in members.items():
            archive.writestr(f"archive/{name}", member)
    return content.getvalue()


def legacy_file(data: bytes, storages: dict[str, np.ndarray], header: Iterable[Any] = HEADER) -> bytes:
    """A file as of PyTorch before 1.6, and of the published Inception weights, around a pickle."""
    numbers = [struct.pack("<q", array.size) + array.tobytes(order="A") for array in storages.values()]
    heads = [pickle.dumps(part, 2) for part in header]
    return b"".join([*heads, data, pickle.dumps(list(storages), 2), *numbers])


def save(value: Any, legacy: bool) -> bytes:
    """The whole file."""
    storages: dict[str, np.ndarray] = {}
    data = program(pickled(value, storages))
    return (legacy_file if legacy else zip_file)(data, storages)
