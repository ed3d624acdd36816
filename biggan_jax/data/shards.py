"""The files of a prepared set: each is written atomically, and each shard has a JSON description beside it.

In a bucket, an object appears when its upload is complete; a shard is first written on this machine.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from etils import epath

from biggan_jax.data.source import DataError
from biggan_jax.runtime.files import PREPARED_SET, atomic_path, reading, write_file, writing
from biggan_jax.runtime.json_digest import json_digest
from biggan_jax.runtime.json_values import parse_json

# Each record is a group, so that it can be read by itself. Compression hardly shrinks pixels, and unpacking
# would double the time of reading.
WRITER = "group_size:1,uncompressed"
_FULL_DISK = (RuntimeError, ValueError)  # with these ArrayRecord reports a full disk
STATE = "preparation.json"  # the plan of a set, and whether it is finished
CHUNK_BYTES = 2**22


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """The content of a shard, as the JSON file beside it describes it.

    Attributes:
      examples: Number of examples.
      bytes: Size of the file.
      sha256: SHA-256 of the file.
      refused: Reasons why pictures were left out, by picture.
    """

    examples: int
    bytes: int
    sha256: str
    refused: dict[str, str]


def read_state(place: epath.Path | Path) -> dict[str, Any] | None:
    """Reads the plan of a set and what is known of it once it is finished; returns None without a plan.

    Args:
      place: Folder on this machine or in a bucket.

    Raises:
      DataError: The file is damaged.
    """
    path = epath.Path(place / STATE)
    try:
        state = read_json(path)
        if state is None:
            return None
        if not isinstance(state, dict):
            raise ValueError("it holds no object")
        digest = state.pop("sha256", None)  # older sets have none
        if not {"plan", "finished"} <= state.keys() or digest not in (None, json_digest(state)):
            raise ValueError("its content has changed since it was written")
    except ValueError as error:
        raise DataError(
            f"{path} is damaged ({error}): delete the folder, and prepare the set again"
        ) from error
    return state


def write_state(place: epath.Path, state: dict[str, Any]) -> None:
    """Writes what `read_state` reads, with its digest."""
    write_json(place / STATE, state | {"sha256": json_digest(state)})


def sha256_of(file: epath.Path | Path) -> str:
    """Returns SHA-256 of a file of any size, in hexadecimal.

    Raises:
      UserError: The file cannot be read.
    """
    digest = hashlib.sha256()
    for chunk in chunks_of(file):
        digest.update(chunk)
    return digest.hexdigest()


def chunks_of(file: epath.Path | Path) -> Iterator[bytes]:
    """Yields the content of a file of any size in parts; raises UserError if it cannot be read."""
    with reading(file), file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def check_finished(place: epath.Path | Path, name: str) -> None:
    """Checks that a folder holds a prepared set, and that its preparation was finished.

    Args:
      place: Folder on this machine or in a bucket.
      name: Name of the source, for messages.

    Raises:
      DataError: The folder holds no prepared set, or an unfinished one.
    """
    state = read_state(place)
    if state is None:
        raise DataError(
            f"{name} is no prepared set: write it with 'python -m biggan_jax.prepare --source=… "
            f"--resolution=… --output={place}'"
        )
    if not state["finished"]:
        raise DataError(f"{name} was not finished: run the command that began it again; it continues")


def write_shard(
    file: epath.Path, parts: Iterator[tuple[list[bytes], int]], refused: dict[str, str]
) -> Generator[tuple[int, int], None, ShardInfo]:
    """Writes one shard, and its description beside it.

    Args:
      file: Path of the shard.
      parts: Pairs of records and the number of examples that they come from.
      refused: Reasons by picture that gave no record; filled while `parts` is read.

    Yields:
      Pairs of the number of examples in a part and the number of records so far.

    Returns:
      The description of the shard.

    Raises:
      DataError: The shard cannot be written.
    """
    from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

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
        info = ShardInfo(examples, len(content), hashlib.sha256(content).hexdigest(), refused)
        write_json(description_of(file), dataclasses.asdict(info))
    return info


def finished_shard(file: epath.Path) -> ShardInfo | None:
    """Returns the description of a shard, or None if the shard is missing or incomplete."""
    info = read_description(file)
    return info if info and file.exists() and file.stat().length == info.bytes else None


def read_description(file: epath.Path) -> ShardInfo | None:
    """Returns the description of a shard that may not exist; None if it is missing or damaged."""
    try:
        content = read_json(description_of(file))
        return None if content is None else ShardInfo(**content)
    except (ValueError, TypeError):
        return None


def description_of(file: epath.Path) -> epath.Path:
    """Returns the path of a shard's JSON description."""
    return file.with_name(f"{file.name}.json")


def read_json(path: epath.Path) -> Any:
    """Returns the content of a JSON file, or None if the file does not exist."""
    return parse_json(path.read_bytes()) if path.exists() else None


def write_json(path: epath.Path, content: Any) -> None:
    """Writes a JSON file atomically.

    Raises:
      UserError: The file cannot be written.
    """
    write_file(path, json.dumps(content, indent=1).encode(), PREPARED_SET)
