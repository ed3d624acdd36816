"""Divides the examples of a split among shards, and decodes and writes the examples of each shard."""

import concurrent.futures
import dataclasses
import logging
from collections.abc import Generator, Iterator, Sequence

from etils import epath

from biggan_jax.data import prepared
from biggan_jax.data.decode import UnusablePicture
from biggan_jax.data.records import EXAMPLES_PER_TASK, RecordSource, listing
from biggan_jax.data.shards import ShardInfo, finished_shard, write_shard
from biggan_jax.data.source import DataError
from biggan_jax.data.tensorflow_runtime import import_tensorflow
from biggan_jax.data.verification import changed_shards

SHARD_BYTES = 2**27
RECORD_BYTES = 64  # of a record, besides its pixels


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard of a prepared set.

    Attributes:
      file: Path of the shard.
      start: Number of its first example in the source.
      end: Number after its last example.
    """

    file: epath.Path
    start: int
    end: int


def shards_of(place: epath.Path, split: str, source: RecordSource) -> list[Shard]:
    """Returns all shards of a split, whether they exist or not.

    Args:
      place: Folder of the set.
      split: Name of the split.
      source: Source of the split.

    Returns:
      The shards in order.
    """
    count = max(1, round(source.num_examples * record_size(source) / SHARD_BYTES))
    edges = [shard * source.num_examples // count for shard in range(count + 1)]
    names = [f"{prepared.NAME}-{split}.array_record-{i:05}-of-{count:05}" for i in range(count)]
    return [Shard(place / names[i], edges[i], edges[i + 1]) for i in range(count)]


def record_size(source: RecordSource) -> int:
    """Returns the bytes of one record of a source."""
    return source.resolution**2 * 3 + RECORD_BYTES


def written_shards(place: epath.Path, shards: list[Shard]) -> list[ShardInfo | None]:
    """Returns the description of each shard, or None for a shard that is missing or incomplete.

    Args:
      place: Folder of the set.
      shards: Shards to read.

    Returns:
      One entry for each shard, in order.
    """
    names = {path.name for path in place.iterdir()}  # in a bucket, one listing is faster than many queries
    return [finished_shard(shard.file) if shard.file.name in names else None for shard in shards]


def intact_shards(place: epath.Path, shards: list[Shard]) -> list[ShardInfo | None]:
    """Returns what `written_shards` does, but None for a shard whose content has changed; it warns of these.

    Args:
      place: Folder of the set.
      shards: Shards to read.

    Returns:
      One entry for each shard, in order.
    """
    written = written_shards(place, shards)
    infos = {shard.file: info for shard, info in zip(shards, written, strict=True) if info}
    changed = set(changed_shards(infos))
    for file in changed:
        logging.warning("%s has changed since it was written (SHA-256); it is written anew", file)
    return [None if shard.file in changed else infos.get(shard.file) for shard in shards]


def write_examples(
    source: RecordSource,
    shard: Shard,
    pool: concurrent.futures.Executor,
    refused: dict[str, str],
    max_refused: float,
) -> Generator[tuple[int, int], None, ShardInfo]:
    """Decodes and writes the examples of one shard.

    Args:
      source: Source of the split.
      shard: Shard to write.
      pool: Threads that decode.
      refused: Unusable pictures of the other shards, as far as known; those of this shard are added.
      max_refused: Share of the source's pictures that may be unusable.

    Yields:
      As `write_shard`.

    Returns:
      The description of the shard.

    Raises:
      DataError: The shard cannot be written, or too many pictures are unusable.
    """
    new: dict[str, str] = {}
    parts = _records(source, shard, pool, new, refused, max_refused)
    return (yield from write_shard(shard.file, parts, new))


def refused_pictures(shards: Sequence[ShardInfo | None]) -> dict[str, str]:
    """Returns the reasons why the pictures of some shards were left out, by picture."""
    return {name: reason for info in shards if info for name, reason in info.refused.items()}


def _records(
    source: RecordSource,
    shard: Shard,
    pool: concurrent.futures.Executor,
    new: dict[str, str],
    refused: dict[str, str],
    max_refused: float,
) -> Iterator[tuple[list[bytes], int]]:
    """Yields the serialized examples of a shard in parts, each with the number of examples that it covers.

    Unusable pictures are added to `new` and `refused`.
    """
    tf = import_tensorflow()

    def serialize(number: int) -> bytes | tuple[str, str]:
        try:
            image, label = source.example(number)
        except UnusablePicture as error:
            return source.name_of(number), str(error)
        feature = {
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        return example.SerializeToString(deterministic=True)  # a map's order would differ between processes

    def serialize_part(start: int) -> list[bytes | tuple[str, str]]:
        return [serialize(number) for number in range(start, min(start + EXAMPLES_PER_TASK, shard.end))]

    for part in pool.map(serialize_part, range(shard.start, shard.end, EXAMPLES_PER_TASK)):
        refusals = dict(item for item in part if isinstance(item, tuple))
        new |= refusals
        refused |= refusals
        if refusals:
            check_refused(source, refused, max_refused, pool)
        yield [item for item in part if isinstance(item, bytes)], len(part)


def check_refused(
    source: RecordSource,
    refused: dict[str, str],
    max_refused: float,
    pool: concurrent.futures.Executor | None = None,
) -> None:
    """Checks how many pictures of a source are unusable.

    Args:
      source: The source.
      refused: Reasons by unusable picture.
      max_refused: Share of the source's pictures that may be unusable.
      pool: Threads to stop before an error.

    Raises:
      DataError: Too many pictures are unusable.
    """
    if len(refused) <= max(1, max_refused * source.num_examples):
        return
    if pool:
        pool.shutdown(wait=False, cancel_futures=True)
    raise DataError(
        f"{source.name}: {len(refused):,} of {source.num_examples:,} pictures are unusable so far, "
        f"more than {max_refused:.2%}; repair or remove them, or allow more with --max_refused:"
        + listing(refused.items())
    )
