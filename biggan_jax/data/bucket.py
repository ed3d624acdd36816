"""Copies prepared sets from a bucket to this machine, once, because training reads them in random order.

The copy stays in $BIGGAN_CACHE/prepared, by default in ~/.cache/biggan_jax, until a person deletes it. A set
that was written again is copied again; an interrupted copy continues with the missing shards.
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
    ShardInfo,
    check_finished,
    chunks_of,
    description_of,
    finished_shard,
    read_description,
)
from biggan_jax.data.source import DataError
from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.files import CACHE, atomic_path, reading, resolve_directory, write_file
from biggan_jax.runtime.locks import exclusive
from biggan_jax.runtime.progress import track

PARALLEL_SHARDS = 4
MEGABYTE = 10**6

logging.getLogger("fsspec").setLevel(logging.WARNING)  # at lower levels it logs each file that it opens


def local_copy(path: str) -> Path:
    """Copies a prepared set to this machine, unless a copy exists.

    Args:
      path: Folder of the set, gs://BUCKET/FOLDER.

    Returns:
      The folder of the copy.

    Raises:
      DataError: The folder holds no finished set, the set has lost files or bytes, it cannot be read, or this
        machine has too little space.
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
            write_file(folder / STATE, state, CACHE)  # last, because it marks the copy as complete
    return Path(folder)


def _copy(place: epath.Path, folder: epath.Path, size: int) -> None:
    """Copies all files but the state; `size` is the sum of the shards' bytes."""
    files = {file.name: file for file in place.iterdir() if file.name != STATE}
    shards = {name: file for name, file in files.items() if description_of(file).name in files}
    for name, file in files.items():
        if name not in shards:
            write_file(folder / name, file.read_bytes(), CACHE)
    infos: dict[str, ShardInfo] = {}
    for name in shards:
        if info := read_description(folder / name):
            infos[name] = info
    if sum(info.bytes for info in infos.values()) != size:
        raise DataError(f"prepared:{place} has lost shards: delete it, and prepare it again")

    missing = [name for name in shards if not finished_shard(folder / name)]
    needed, free = sum(infos[name].bytes for name in missing), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"cannot copy prepared:{place}: it needs {needed / 1e9:.2f} GB, and {folder.parent} has "
            f"{free / 1e9:.2f} GB free: free some space, or set BIGGAN_CACHE to another folder"
        )

    def copy(name: str) -> int:
        _copy_shard(shards[name], folder / name, infos[name].sha256)
        return infos[name].bytes

    def copied() -> Iterator[tuple[int, Any]]:
        with concurrent.futures.ThreadPoolExecutor(PARALLEL_SHARDS) as pool:
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
            for chunk in chunks_of(shard):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != sha256:
            raise DataError(
                f"{shard} has changed since it was written (SHA-256): delete it, and prepare the set again"
            )
