"""One file of a prepared set: written whole or not at all, with what is to be known of it beside it."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from etils import epath

from biggan_jax.data.source import DataError

# One record a group, so that each can be read by itself; pixels hardly shrink, and unpacking takes as long as
# all else that reading does.
WRITER = "group_size:1,uncompressed"


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

    remote = "://" in os.fspath(file)
    with contextlib.ExitStack() as stack:
        if remote:
            local = Path(stack.enter_context(tempfile.TemporaryDirectory())) / file.name
        else:
            local = Path(file.parent) / f"unfinished-{file.name}"
        stack.callback(local.unlink, missing_ok=True)
        examples = 0
        try:
            writer = array_record_module.ArrayRecordWriter(os.fspath(local), WRITER)
            for records, count in parts:
                for record in records:
                    writer.write(record)
                examples += len(records)
                yield count, examples
            writer.close()
            written = array_record_module.ArrayRecordReader(os.fspath(local)).num_records()
        except (RuntimeError, ValueError, OSError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{local} could not be written ({error}): make room, then the same command goes on"
            ) from error
        if written != examples:
            raise DataError(
                f"{local} has {written} records of {examples}: make room, then the same command goes on"
            )
        content = local.read_bytes()
        shard = {
            "examples": examples,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "refused": refused,
        }
        write_json(epath.Path(f"{file}.json"), shard)
        if remote:
            epath.Path(local).copy(file, overwrite=True)
        else:
            local.rename(file)
    return shard


def whole_shard(file: epath.Path) -> dict[str, Any] | None:
    """The description of a shard that is there and whole; else None."""
    shard = read_json(epath.Path(f"{file}.json"))
    return shard if shard and file.exists() and file.stat().length == shard["bytes"] else None


def read_json(path: epath.Path) -> Any:
    """What a file holds, or None where there is none."""
    return json.loads(path.read_text()) if path.exists() else None


def write_json(path: epath.Path, content: Any) -> None:
    """Writes a file whole or not at all."""
    try:
        unfinished = path.with_name(f"unfinished-{path.name}")
        unfinished.write_text(json.dumps(content, indent=1))
        unfinished.replace(path)
    except OSError as error:
        raise DataError(
            f"{path} could not be written ({error}): make room, then the same command goes on"
        ) from error
