"""Files of a prepared set: written whole or not at all, each shard with what is to be known of it beside it.

In a bucket an object appears when its upload is complete; a shard is written on this machine first.
"""

import hashlib
import json
import os
from collections.abc import Generator, Iterator
from typing import Any

from etils import epath

from biggan_jax.data.source import DataError
from biggan_jax.runtime.files import PREPARED_SET, atomic_path, write_file, writing

# One record a group, so that each can be read by itself; pixels hardly shrink, and unpacking takes as long as
# all else that reading does.
WRITER = "group_size:1,uncompressed"
_FULL_DISK = (RuntimeError, ValueError)  # by which ArrayRecord reports a full disk
STATE = "preparation.json"  # how far the preparation of a set has come


def check_finished(place: os.PathLike, name: str) -> None:
    """Raises `DataError` unless there is a prepared set, and a finished one, in a folder or bucket."""
    if not (place / STATE).exists():
        raise DataError(
            f"{name} is no prepared set: write it with 'python -m biggan_jax.prepare --source=… "
            f"--resolution=… --output={place}'"
        )
    if not json.loads((place / STATE).read_text())["finished"]:
        raise DataError(f"{name} was not finished: the command that began it goes on where it stopped")


def write_shard(
    file: epath.Path, parts: Iterator[tuple[list[bytes], int]], refused: dict[str, str]
) -> Generator[tuple[int, int], None, dict[str, Any]]:
    """Writes one shard.

    Args:
      file: where to.
      parts: pairs of records, and how many examples they came from.
      refused: fills, while `parts` are taken, with the pictures that gave no record.

    Yields:
      Pairs of how many examples a part came from, and how many records there are by then.

    Returns:
      Its number of records, bytes, SHA-256 and refusals, which also stand in a file beside it.

    Raises:
      DataError: it could not be written.
    """
    from array_record.python import array_record_module

    with atomic_path(file, PREPARED_SET) as local:
        examples = 0
        with writing(file, PREPARED_SET, also=_FULL_DISK):
            writer = array_record_module.ArrayRecordWriter(os.fspath(local), WRITER)
            for records, count in parts:
                for record in records:
                    writer.write(record)
                examples += len(records)
                yield count, examples
            writer.close()
            written = array_record_module.ArrayRecordReader(os.fspath(local)).num_records()
        if written != examples:
            raise DataError(
                f"{file} has {written} records of {examples}: free some space, and {PREPARED_SET.again}"
            )
        content = local.read_bytes()
        shard = {
            "examples": examples,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "refused": refused,
        }
        write_json(description_of(file), shard)
    return shard


def whole_shard(file: epath.Path) -> dict[str, Any] | None:
    """The description of a shard that is there and whole; else None."""
    shard = read_json(description_of(file))
    return shard if shard and file.exists() and file.stat().length == shard["bytes"] else None


def description_of(file: epath.Path) -> epath.Path:
    """Where it is said what a shard holds."""
    return file.with_name(f"{file.name}.json")


def read_json(path: epath.Path) -> Any:
    """What a file holds, or None where there is none."""
    return json.loads(path.read_text()) if path.exists() else None


def write_json(path: epath.Path, content: Any) -> None:
    """Writes a JSON file atomically.

    Raises:
      UserError: The file cannot be written.
    """
    write_file(path, json.dumps(content, indent=1).encode(), PREPARED_SET)
