"""Reads files of `torch.save` without PyTorch: returns tensors as NumPy arrays in plain containers.

Such a file contains a pickle, and a pickle is a program that may call anything. This reader executes only the
instructions that `torch.save` writes, and resolves only the names from which tensors are built. It refuses
all others, so the file can never run code of its own. It reads the zip archives of PyTorch 1.6 and later, and
the older format: consecutive pickles, followed by the numbers.
"""

import dataclasses
import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from biggan_jax.runtime.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}

# (type, key, number of elements) → the elements; None while only the structure is read
FindStorage = Callable[[np.dtype, str, int], np.ndarray | None]

MOST_COPIES = 8  # all arrays together, in sizes of the file: tensors may share numbers, but each is copied
MOST_AXES = 32
ENTRY_BYTES = 64  # of a dictionary, which a call may copy like a tensor


def read(path: Path) -> Any:
    """Reads a file of `torch.save`.

    Args:
      path: Path of the file.

    Returns:
      The saved object: usually a dictionary of arrays, possibly nested.

    Raises:
      UserError: The file cannot be read, is damaged or of another kind, or holds more than numbers, text,
        containers and dense tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return parse(content, str(path))


def parse(content: bytes, name: str) -> Any:
    """Reads the content of a file of `torch.save`; see `read`.

    Args:
      content: Content of the file.
      name: Name of the file in error messages.
    """
    try:
        return _parse_zip(content) if content.startswith(b"PK\x03\x04") else _parse_legacy(content)
    except _Refused as refused:
        raise UserError(f"{name}: {refused}") from refused
    except Exception as error:  # whatever a damaged file makes zipfile, pickletools or numpy raise
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{name} is damaged, or not a file of torch.save ({reason}); get it again") from error


class _Refused(Exception):
    """Reason for which the reader refuses a file; the message follows `FILE: `."""


def _parse_zip(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member.filename.partition("/")[2]: member for member in archive.infolist()}
        if "constants.pkl" in members:
            raise _Refused("it is a TorchScript program; give a file with a state dict")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise _Refused("it is a compressed zip, which torch.save does not write")
        if sum(member.file_size for member in archive.infolist()) > len(content):
            raise _Refused("its parts overlap, or are shorter than declared")
        if "data.pkl" not in members:
            raise _Refused("it is a zip file without data.pkl, which torch.save would have written")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise _Refused("it was written on a big-endian machine: save it again on another")
        storages: dict[str, np.ndarray] = {}

        def find(dtype: np.dtype, key: str, count: int) -> np.ndarray:
            if key not in storages:
                storages[key] = np.frombuffer(archive.read(members[f"data/{key}"]), dtype)
            if storages[key].dtype != dtype or len(storages[key]) != count:
                raise ValueError(f"storage {key} does not hold {count} numbers of {dtype}")
            return storages[key]

        return _run(io.BytesIO(archive.read(members["data.pkl"])), find, MOST_COPIES * len(content))


def _parse_legacy(content: bytes) -> Any:
    stream = io.BytesIO(content)
    try:
        magic = _run(stream)
    except (LookupError, TypeError, ValueError):
        magic = None
    if magic != LEGACY_MAGIC:
        raise _Refused(f"it is not a file of torch.save: it begins with {content[:16]!r}")
    if (protocol := _run(stream)) != LEGACY_PROTOCOL:
        number = protocol if isinstance(protocol, int) else "?"
        raise _Refused(f"it has protocol {number} of torch.save, not {LEGACY_PROTOCOL}")
    if _run(stream)["little_endian"] is not True:
        raise _Refused("it was written on a big-endian machine: save it again on another")

    # The numbers follow the object, but only the object declares their types, so its pickle runs twice.
    start, wanted = stream.tell(), {}
    _run(stream, lambda dtype, key, count: wanted.update({key: (dtype, count)}))
    storages: dict[str, np.ndarray] = {}
    for key in _run(stream):
        dtype, count = wanted[_plain(key)]
        (stored,) = struct.unpack("<q", stream.read(8))
        if stored != count:
            raise ValueError(f"storage {key} has {stored} numbers, not {count}")
        storages[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)
    stream.seek(start)

    def find(dtype: np.dtype, key: str, count: int) -> np.ndarray:
        if (dtype, count) != wanted[key]:
            raise ValueError(f"storage {key} is used with two types or sizes")
        return storages[key]

    return _run(stream, find, MOST_COPIES * len(content))


def _tensor(storage: np.ndarray | None, offset: int, shape: Any, strides: Any, *_: Any) -> np.ndarray | None:
    """Rebuilds a tensor as `torch._utils._rebuild_tensor_v2` does, without gradients and hooks."""
    if storage is None:
        return None
    if not isinstance(storage, np.ndarray) or not all(
        isinstance(number, int) and number >= 0 for number in (offset, *shape, *strides)
    ):
        raise ValueError("a tensor's offset, shape or strides are not whole numbers of at least 0")
    if len(shape) != len(strides) or len(shape) > MOST_AXES or math.prod(shape) > len(storage):
        raise ValueError(f"a tensor has shape {list(shape)}, and its storage has {len(storage)} numbers")
    if 0 in shape:
        return np.empty(shape, storage.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= len(storage):
        raise ValueError(f"a tensor extends to number {last} of a storage of {len(storage)} numbers")
    steps = [stride * storage.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
    return np.array(view, order="C")


def _ordered_dict(items: Any = ()) -> dict[str | int, Any]:
    """Builds a dictionary from the list of pairs that Python 2 saved; Python 3 calls it without one."""
    if not isinstance(items, list | tuple):
        raise ValueError(f"the pickle makes a dictionary from a {type(items).__name__}")
    return {_plain(key): value for key, value in items}


def _size(numbers: Any) -> tuple[Any, ...]:
    """Builds the shape of a tensor."""
    if not isinstance(numbers, list | tuple) or len(numbers) > MOST_AXES:
        raise ValueError(f"a shape is not a list of at most {MOST_AXES} numbers")
    return tuple(numbers)


@dataclasses.dataclass(frozen=True)
class _Function:
    """Function that a pickle may call."""

    call: Callable[..., Any]


FUNCTIONS = {
    "collections.OrderedDict": _Function(_ordered_dict),
    "torch.Size": _Function(_size),
    "torch._utils._rebuild_tensor_v2": _Function(_tensor),
    "torch._utils._rebuild_parameter": _Function(lambda tensor, *_: tensor),
}


def _global(words: str) -> _Function | np.dtype:
    module, name = words.split(" ")
    if module in ("torch", "torch.cuda") and name in DTYPES:
        return np.dtype(DTYPES[name])
    if f"{module}.{name}" not in FUNCTIONS:
        raise _Refused(
            f"it asks for {module}.{name}, which no state dict of dense tensors needs; it was not run. If "
            "you trust the file, load it with PyTorch and save only its state dict"
        )
    return FUNCTIONS[f"{module}.{name}"]


def _storage(identity: Any, find: FindStorage | None) -> np.ndarray | None:
    """Finds the storage of a persistent id `("storage", type, key, device, number of elements[, view])`."""
    kind, dtype, key, _, count, *view = identity
    if kind != "storage" or not isinstance(dtype, np.dtype) or any(view) or find is None:
        raise ValueError("a persistent id does not name a storage")
    if not isinstance(key, str) or not isinstance(count, int):
        raise ValueError("a persistent id does not name a storage")
    return find(dtype, key, count)


def _bytes_of(made: Any) -> int:
    """Returns about how much memory the result of a call takes by itself."""
    return ENTRY_BYTES * len(made) if isinstance(made, dict) else getattr(made, "nbytes", 0)


def _plain(key: Any) -> str | int:
    """Returns a dictionary's key, refusing tuples: nested in a few bytes, they could take forever to hash."""
    if not isinstance(key, str | int):
        raise ValueError(f"the key of a dictionary is a {type(key).__name__}")
    return key


def _run(stream: io.BytesIO, find: FindStorage | None = None, most_bytes: float = math.inf) -> Any:
    """Executes the pickle (protocol 2) at the position of `stream`, and leaves the stream behind it.

    Args:
      stream: Content of the file, or of its pickle.
      find: Returns the numbers of a storage; None for a pickle without storages.
      most_bytes: Largest total size of the arrays.

    Returns:
      The pickled object.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    made = 0

    def pop(count: int) -> list[Any]:
        if not 0 <= count <= len(stack):
            raise ValueError("the pickle pops more than it has pushed")
        taken = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return taken

    def pop_mark() -> list[Any]:
        return pop(len(stack) - marks.pop())

    def container(kind: type) -> Any:
        if type(stack[-1]) is not kind:
            raise ValueError(f"the pickle fills a {type(stack[-1]).__name__} as if it were a {kind.__name__}")
        return stack[-1]

    argument: Any  # by the instruction
    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO":
                if argument != 2:
                    raise _Refused(f"its pickle has protocol {argument}; torch.save writes protocol 2")
            case "STOP":
                (result,) = pop(1)
                return result
            case "MARK":
                marks.append(len(stack))
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument)
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(pop(int(opcode.name[-1]))))
            case "TUPLE":
                stack.append(tuple(pop_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "APPEND":
                (item,) = pop(1)
                container(list).append(item)
            case "APPENDS":
                items = pop_mark()
                container(list).extend(items)
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                key, value = pop(2)
                container(dict)[_plain(key)] = value
            case "SETITEMS":
                items = pop_mark()
                container(dict).update(zip(map(_plain, items[::2]), items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_global(argument))
            case "REDUCE":
                function, arguments = pop(2)
                if not isinstance(function, _Function) or not isinstance(arguments, tuple):
                    raise ValueError("the pickle calls an object that is not a function")
                stack.append(function.call(*arguments))
                made += _bytes_of(stack[-1])
                if made > most_bytes:
                    raise _Refused(f"its tensors would take more than {MOST_COPIES} times the file's size")
            case "BUILD":  # an attribute of a state dict: the versions of its modules
                pop(1)
                container(dict)
            case "BINPERSID":
                (identity,) = pop(1)
                stack.append(_storage(identity, find))
            case other:
                raise _Refused(f"its pickle has the instruction {other}, which torch.save does not write")
