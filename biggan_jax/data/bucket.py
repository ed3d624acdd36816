"""Prepared sets in a bucket: copied to this machine once, for they are read in any order, record by record.

The copy stays in $BIGGAN_CACHE/prepared, by default in ~/.cache/biggan_jax, until somebody deletes it. A set
that is written anew is copied anew; a copy that was cut off goes on with the shards that are missing.
"""

import concurrent.futures
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

from biggan_jax.data.shards import (
    STATE,
    check_finished,
    description_of,
    read_json,
    whole_shard,
)
from biggan_jax.data.source import DataError
from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.files import CACHE, atomic_path, reading, resolve_directory, write_file
from biggan_jax.runtime.locks import exclusive
from biggan_jax.runtime.progress import track

AT_ONCE = 4  # shards
CHUNK = 2**22
MEGABYTE = 10**6

logging.getLogger("fsspec").setLevel(logging.WARNING)  # it tells of each file that it opens


def local_copy(path: str) -> Path:
    """The folder of this machine that holds the set at `path`, gs://BUCKET/FOLDER; copied unless it is there.

    Raises:
      DataError: there is no finished set, it lost files or bytes, or it could not be read, or there is too
        little room for it.
    """
    place, name = resolve_directory(path, "prepared:"), f"prepared:{path}"
    with reading(place):
        check_finished(place, name)
        state = (place / STATE).read_bytes()
    cache = cache_folder("prepared")
    folder = epath.Path(cache / hashlib.sha256(os.fsencode(place) + state).hexdigest()[:32])
    with exclusive(cache, folder.name, f"copying {name}"):
        if not (folder / STATE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with reading(place):
                _copy(place, folder, json.loads(state)["summary"]["bytes"])
            write_file(folder / STATE, state, CACHE)  # last: now the copy is whole
    return Path(folder)


def _copy(place: epath.Path, folder: epath.Path, size: int) -> None:
    """Copies all but the state; the shards have `size` bytes."""
    files = {file.name: file for file in place.iterdir() if file.name != STATE}
    shards = {name: file for name, file in files.items() if description_of(file).name in files}
    for name, file in files.items():
        if name not in shards:
            write_file(folder / name, file.read_bytes(), CACHE)
    said = {name: read_json(description_of(folder / name)) for name in shards}
    if sum(shard["bytes"] for shard in said.values()) != size:
        raise DataError(f"prepared:{place} has lost shards: delete it, and prepare it anew")

    missing = [name for name in shards if not whole_shard(folder / name)]
    needed, free = sum(said[name]["bytes"] for name in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"prepared:{place} is copied to {folder.parent}, which has {free / 1e9:.2f} GB free, and "
            f"{needed / 1e9:.2f} GB are to be copied: make room, or set BIGGAN_CACHE to another folder"
        )

    def copy(name: str) -> int:
        _copy_shard(shards[name], folder / name, said[name]["sha256"])
        return said[name]["bytes"]

    def copied() -> Iterator[tuple[int, Any]]:
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for copied_bytes in pool.map(copy, missing):
                    yield copied_bytes // MEGABYTE, None
            finally:
                pool.shutdown(cancel_futures=True)

    for _ in track(copied(), f"copying {place}", size // MEGABYTE, (size - needed) // MEGABYTE, unit="MB"):
        pass


def _copy_shard(shard: epath.Path, to: epath.Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with atomic_path(to, CACHE) as part:
        with part.open("wb") as target:
            for chunk in _chunks(shard):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != sha256:
            raise DataError(
                f"{shard} is not as it was written (SHA-256): delete it, and prepare the set again"
            )


def _chunks(shard: epath.Path) -> Iterator[bytes]:
    with reading(shard), shard.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk
