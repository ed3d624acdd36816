"""Compares the files of a prepared set with the SHA-256 that was stored when they were written."""

import concurrent.futures
import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from etils import epath

from biggan_jax.data.records import listing
from biggan_jax.data.shards import (
    ShardInfo,
    check_finished,
    finished_shard,
    read_state,
    sha256_of,
)
from biggan_jax.data.source import DataError
from biggan_jax.runtime.files import reading, resolve_directory
from biggan_jax.runtime.progress import track

PARALLEL_FILES = 4
MEGABYTE = 10**6
_SHARD = re.compile(r"(.+\.array_record)-\d{5}-of-(\d{5})")


@dataclasses.dataclass(frozen=True)
class Verified:
    """What was found intact.

    Attributes:
      shards: Number of shards.
      bytes: Size of all shards.
      unverified: Names of the files for which an older version stored no digest.
    """

    shards: int
    bytes: int
    unverified: list[str]


def verify_prepared(output: str) -> Verified:
    """Reads all files of a finished set.

    Args:
      output: Folder of the set, on this machine or in a bucket.

    Returns:
      What was found intact.

    Raises:
      DataError: The folder holds no finished set, or files are missing or have changed; the message lists
        them.
    """
    place = resolve_directory(output, "--output=")
    with reading(place):
        check_finished(place, f"prepared:{output}")
        state = read_state(place)
        names = {file.name for file in place.iterdir()}
    assert state is not None
    shards = {name: finished_shard(place / name) for name in sorted(_shard_names(names))}
    whole = {name: info for name, info in shards.items() if info}
    damaged = {name: "missing, cut short or without its description" for name in shards if name not in whole}
    damaged |= changed_metadata(place, metadata := state.get("metadata", {}))
    changed = changed_shards({place / name: info for name, info in whole.items()})
    damaged |= {file.name: "its SHA-256 differs" for file in changed}
    size, expected = sum(info.bytes for info in whole.values()), state["summary"]["bytes"]
    if damaged or size != expected:
        listed = listing(sorted(damaged.items())) or f"\n  its shards have {size:,} bytes, not {expected:,}"
        raise DataError(
            f"{output} is damaged: delete the files of this list, and run the command that wrote the set "
            f"again, which writes them anew:{listed}"
        )
    return Verified(len(shards), size, [] if metadata else ["dataset_info.json and other metadata"])


def _shard_names(names: set[str]) -> set[str]:
    """Returns the names of all shards of which any file exists, or any file of another shard of the split."""
    found = {match.groups() for name in names if (match := _SHARD.match(name))}
    return {f"{split}-{i:05}-of-{count}" for split, count in found for i in range(int(count))}


def changed_shards(infos: Mapping[epath.Path, ShardInfo]) -> list[epath.Path]:
    """Returns the shards whose content is not what their description says.

    Args:
      infos: Descriptions by path of the shard.
    """

    def check(file: epath.Path) -> epath.Path | None:
        return None if sha256_of(file) == infos[file].sha256 else file

    def checked() -> Iterator[tuple[int, epath.Path | None]]:
        with concurrent.futures.ThreadPoolExecutor(PARALLEL_FILES) as pool:
            try:
                for file, result in zip(infos, pool.map(check, infos), strict=True):
                    yield infos[file].bytes // MEGABYTE, result
            finally:
                pool.shutdown(cancel_futures=True)

    size = sum(info.bytes // MEGABYTE for info in infos.values())
    found = list(track(checked(), "checking shards", size, unit="MB")) if infos else []
    return [file for file in found if file]


def changed_metadata(place: epath.Path | Path, digests: Mapping[str, str]) -> dict[str, str]:
    """Returns what is wrong with the metadata of a set, by the name of the file.

    Args:
      place: Folder of the set.
      digests: SHA-256 of each file, by its name.
    """
    missing = {name: "missing" for name in digests if not (place / name).exists()}
    return missing | {
        name: "its SHA-256 differs"
        for name, digest in digests.items()
        if name not in missing and sha256_of(place / name) != digest
    }
