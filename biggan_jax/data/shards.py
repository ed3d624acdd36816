"""Files of a prepared set: written whole or not at all, each shard with what is to be known of it beside it.

In a bucket an object appears when its upload is complete; a shard is written on this machine first.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from etils import epath

from biggan_jax.data.source import DataError
from biggan_jax.runtime.files import is_object_store, is_storage_error

# One record a group, so that each can be read by itself; pixels hardly shrink, and unpacking takes as long as
# all else that reading does.
WRITER = "group_size:1,uncompressed"
STATE = "preparation.json"  # how far the preparation of a set has come


def open_place(name: str, what: str) -> epath.Path:
    """A folder of this machine or of a bucket, there or not.

    Args:
      name: a path or gs://BUCKET/FOLDER.
      what: stands before it in messages, such as "--output=".

    Raises:
      DataError: it is a URL of another kind, names no bucket, or the extra `gcs` is not installed.
    """
    scheme, separator, rest = name.partition("://")
    if not separator:
        return epath.Path(name).expanduser()
    if scheme != "gs" or not rest.strip("/"):
        raise DataError(f"{what}{name}: give a folder's path or gs://BUCKET/FOLDER")
    if importlib.util.find_spec("gcsfs") is None:
        raise DataError(f"{what}{name} needs the package gcsfs: pip install 'biggan-jax[gcs]'")
    return epath.Path(name)


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

    with contextlib.ExitStack() as stack:
        if is_object_store(file):
            local = Path(stack.enter_context(tempfile.TemporaryDirectory())) / file.name
        else:
            local = Path(file.parent) / f"unfinished-{file.name}"
        stack.callback(local.unlink, missing_ok=True)
        examples = 0
        with reported(local, "written"):
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
                f"{local} has {written} records of {examples}: make room, then the same command goes on"
            )
        content = local.read_bytes()
        shard = {
            "examples": examples,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "refused": refused,
        }
        write_json(description_of(file), shard)
        if is_object_store(file):
            write_file(file, content)
        else:
            local.rename(file)
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
    """Writes a file whole or not at all; raises as `write_file` does."""
    write_file(path, json.dumps(content, indent=1).encode())


def write_file(path: epath.Path, content: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
      DataError: it could not be written.
    """
    with reported(path, "written"):
        if is_object_store(path):
            path.write_bytes(content)
        else:
            unfinished = path.with_name(f"unfinished-{path.name}")
            unfinished.write_bytes(content)
            unfinished.replace(path)


@contextlib.contextmanager
def reported(path: os.PathLike, doing: str) -> Iterator[None]:
    """Turns an error of disk or bucket into a `DataError`: what could not be `doing`, why, and a remedy."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        # ArrayRecord says by RuntimeError or ValueError that a disk is full.
        if not (is_storage_error(error) or isinstance(error, (RuntimeError, ValueError))):
            raise
        remedy = "make room"
        if is_object_store(path):
            bucket = "/".join(os.fspath(path).split("/")[:3])
            remedy = (
                f"see that there is a bucket {bucket} and that you may use it (gcloud storage ls {bucket}; "
                "gcloud auth application-default login)"
            )
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{path} could not be {doing} ({reason}): {remedy}; the same command goes on"
        ) from error
