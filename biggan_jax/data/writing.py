"""Writes a source's pictures, decoded and resized, as a set of TensorFlow Datasets (what prepared.py reads).

    OUTPUT/preparation.json    what is being written, and whether it is finished
           refused.txt         pictures that were left out, with the reasons
           prepared_images-train.array_record-00003-of-00012         a shard, which appears when it is whole
           prepared_images-train.array_record-00003-of-00012.json    its examples, bytes, SHA-256 and refusals
           dataset_info.json, features.json, label.labels.txt        what TFDS reads, written last

TFDS's own preparation begins again when it was cut off; this one goes on behind the last whole shard.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any

from etils import epath

from biggan_jax.data import prepared
from biggan_jax.data.decode import REDUCED_TO, UnusablePicture
from biggan_jax.data.records import MOST_AT_ONCE, RecordSource, listing
from biggan_jax.data.shards import (
    STATE,
    read_json,
    whole_shard,
    write_json,
    write_shard,
)
from biggan_jax.data.source import DataError
from biggan_jax.data.tensorflow_runtime import import_tensorflow, import_tfds
from biggan_jax.runtime.files import PREPARED_SET, is_object_store, reading, resolve_directory, write_file
from biggan_jax.runtime.locks import locked
from biggan_jax.runtime.progress import track

SHARD_BYTES = 2**27
RECORD_BYTES = 64  # of a record beside its pixels
RESIZE = (
    "the centred square, resized by area as Pillow's BOX filter does; a JPEG is decoded at 1/2, 1/4 or 1/8 "
    f"of its size where that leaves at least {REDUCED_TO} × the resolution"
)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was written.

    Attributes:
      images: by split.
      classes: names of them.
      bytes: of all shards.
      refused: reasons by picture.
      enlarged: pictures of a folder that had fewer pixels than the resolution.
      was_finished: nothing was left to do.
    """

    images: dict[str, int]
    classes: int
    bytes: int
    refused: dict[str, str]
    enlarged: int
    was_finished: bool


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of a prepared set, and the examples start … end - 1 of its source that go into it."""

    file: epath.Path
    start: int
    end: int


def write_prepared(
    sources: dict[str, RecordSource],
    output: str,
    max_refused: float,
    write_missing: Callable[[epath.Path, dict[str, RecordSource]], None] | None = None,
) -> Summary:
    """Writes the splits, or goes on with it where an interrupted call with the same arguments stopped.

    Args:
      sources: by split, all of one set.
      output: a folder, made if need be; or one in a bucket, gs://….
      max_refused: share of the pictures that may be unusable and are left out.
      write_missing: writes the shards that are not there yet; by default this process does it.

    Raises:
      DataError: the output holds something else, there is too little room, or too many pictures are unusable.
    """
    place = resolve_directory(output, "--output=")
    plan = _plan(sources)
    with reading(place):
        known = read_json(place / STATE)
        used = known is None and place.exists() and any(path.name != ".lock" for path in place.iterdir())
    if used:
        raise DataError(f"--output={output} is not empty: give a new folder")
    if known is not None and known["plan"] != plan:
        changes = [key for key in plan if known["plan"].get(key) != plan[key]]
        raise DataError(
            f"--output={output} holds {_short(known['plan'])}, and asked for is {_short(plan)} (different: "
            f"{', '.join(changes)}): give a new folder, or delete this one"
        )
    if known is not None and known["finished"]:
        return Summary(**known["summary"] | {"was_finished": True})
    with _only_writer(place):
        write_json(place / STATE, {"plan": plan, "finished": False})
        if write_missing:
            write_missing(place, sources)
            shards = {split: _written(place, split, source, max_refused) for split, source in sources.items()}
        else:
            shards = {split: _write(place, split, source, max_refused) for split, source in sources.items()}
        summary = _finish(place, sources, shards)
        state = {"plan": plan, "finished": True, "summary": dataclasses.asdict(summary)}
        write_json(place / STATE, state)
    return summary


def _plan(sources: dict[str, RecordSource]) -> dict[str, Any]:
    first = next(iter(sources.values()))
    return {
        "version": prepared.VERSION,
        "source": first.name,
        "resolution": first.resolution,
        "resize": RESIZE,
        "splits": {split: source.num_examples for split, source in sources.items()},
        "pictures": fingerprint(sources),
    }


def fingerprint(sources: dict[str, RecordSource]) -> str:
    """Changes with the pictures, their order and their classes."""
    content = json.dumps([[source.class_names, source.fingerprint] for source in sources.values()])
    return hashlib.sha256(content.encode()).hexdigest()


def _short(plan: dict[str, Any]) -> str:
    sizes = ", ".join(f"{split} {count:,}" for split, count in plan["splits"].items())
    return f"{plan['source']} at {plan['resolution']} px ({sizes})"


def shards_of(place: epath.Path, split: str, source: RecordSource) -> list[Shard]:
    """All shards of a split, there or not."""
    count = max(1, round(source.num_examples * _record_size(source) / SHARD_BYTES))
    edges = [shard * source.num_examples // count for shard in range(count + 1)]
    names = [f"{prepared.NAME}-{split}.array_record-{i:05}-of-{count:05}" for i in range(count)]
    return [Shard(place / names[i], edges[i], edges[i + 1]) for i in range(count)]


def _record_size(source: RecordSource) -> int:
    return source.resolution**2 * 3 + RECORD_BYTES


def written_shards(place: epath.Path, shards: list[Shard]) -> list[dict[str, Any] | None]:
    """What is known of each shard, or None where it is not there, or not whole."""
    there = {path.name for path in place.iterdir()}  # a bucket answers this faster than it does for each
    return [whole_shard(shard.file) if shard.file.name in there else None for shard in shards]


def write_one_shard(
    source: RecordSource,
    shard: Shard,
    pool: concurrent.futures.Executor,
    refused: dict[str, str],
    max_refused: float,
) -> Generator[tuple[int, int], None, dict[str, Any]]:
    """Writes a shard: yields and returns what `write_shard` does.

    Args:
      source: of its split.
      shard: which.
      pool: decodes.
      refused: unusable pictures of other shards, as far as they are known; those of this one are added.
      max_refused: share of the source's pictures that may be unusable.

    Raises:
      DataError: it could not be written, or too many pictures are unusable.
    """
    new: dict[str, str] = {}
    parts = _records(source, shard, pool, new, refused, max_refused)
    return (yield from write_shard(shard.file, parts, new))


def _written(place: epath.Path, split: str, source: RecordSource, max_refused: float) -> list[dict[str, Any]]:
    """What others have written, as a whole."""
    written = written_shards(place, shards_of(place, split, source))
    _check_refused(source, _refused(written), max_refused)
    if not all(written):
        raise DataError(f"{place} lacks shards of {split}: the same command writes them")
    return written


def _write(place: epath.Path, split: str, source: RecordSource, max_refused: float) -> list[dict[str, Any]]:
    """Writes the shards that are missing, and tells what is known of all."""
    shards = shards_of(place, split, source)
    written = written_shards(place, shards)
    missing = [number for number, known in enumerate(written) if not known]
    left = sum(shards[number].end - shards[number].start for number in missing)
    refused = _refused(written)
    _check_room(place, left * _record_size(source))

    def write() -> Iterator[tuple[int, int]]:
        with concurrent.futures.ThreadPoolExecutor(source.threads) as pool:
            for number in missing:
                one = write_one_shard(source, shards[number], pool, refused, max_refused)
                written[number] = yield from one

    for _ in track(
        write(), f"preparing {split}", source.num_examples, source.num_examples - left, unit="images"
    ):
        pass
    return written


def _refused(shards: list[dict[str, Any] | None]) -> dict[str, str]:
    return {name: reason for shard in shards if shard for name, reason in shard["refused"].items()}


def _records(
    source: RecordSource,
    shard: Shard,
    pool: concurrent.futures.Executor,
    new: dict[str, str],
    refused: dict[str, str],
    max_refused: float,
) -> Iterator[tuple[list[bytes], int]]:
    """Serialized examples of a shard, in parts, with how many numbers each part is of; unusable pictures are
    put down as refused."""
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
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    def serialize_part(start: int) -> list[bytes | tuple[str, str]]:
        return [serialize(number) for number in range(start, min(start + MOST_AT_ONCE, shard.end))]

    for part in pool.map(serialize_part, range(shard.start, shard.end, MOST_AT_ONCE)):
        refusals = dict(item for item in part if isinstance(item, tuple))
        new |= refusals
        refused |= refusals
        if refusals:
            _check_refused(source, refused, max_refused, pool)
        yield [item for item in part if isinstance(item, bytes)], len(part)


def _check_refused(
    source: RecordSource,
    refused: dict[str, str],
    max_refused: float,
    pool: concurrent.futures.Executor | None = None,
) -> None:
    if len(refused) <= max(1, max_refused * source.num_examples):
        return
    if pool:
        pool.shutdown(wait=False, cancel_futures=True)
    raise DataError(
        f"{source.name}: {len(refused):,} of {source.num_examples:,} pictures can't be used so far, "
        f"more than {max_refused:.2%}; repair or remove them, or allow more with --max_refused:"
        + listing(refused.items())
    )


def _finish(
    place: epath.Path, sources: dict[str, RecordSource], shards: dict[str, list[dict[str, Any]]]
) -> Summary:
    """Writes TFDS's metadata and the list of refused pictures."""
    first = next(iter(sources.values()))
    with tempfile.TemporaryDirectory() as temporary:
        _write_metadata(Path(temporary), first, shards)
        for file in Path(temporary).iterdir():
            write_file(place / file.name, file.read_bytes(), PREPARED_SET)
    refused = {name: reason for source in sources.values() for name, reason in source.refused.items()}
    refused |= {
        name: why for parts in shards.values() for part in parts for name, why in part["refused"].items()
    }
    if refused:
        lines = [f"{name}\t{reason}\n" for name, reason in sorted(refused.items())]
        write_file(place / "refused.txt", "".join(lines).encode(), PREPARED_SET)
    return Summary(
        images={split: sum(part["examples"] for part in parts) for split, parts in shards.items()},
        classes=first.num_classes,
        bytes=sum(part["bytes"] for parts in shards.values() for part in parts),
        refused=refused,
        enlarged=getattr(first, "enlarged", 0),
        was_finished=False,
    )


def _write_metadata(place: Path, source: RecordSource, shards: dict[str, list[dict[str, Any]]]) -> None:
    """Writes the files in which TFDS describes the set to an empty folder."""
    tfds = import_tfds()

    def files(**fields: str) -> Any:
        return tfds.core.ShardedFileTemplate(
            data_dir=place, dataset_name=prepared.NAME, filetype_suffix="array_record", **fields
        )

    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[part["examples"] for part in parts],
            num_bytes=sum(part["bytes"] for part in parts),
            filename_template=files(split=split),
        )
        for split, parts in shards.items()
    ]
    names = [place / name for split in splits for name in split.filenames]
    for name in names:
        name.touch()  # TFDS looks at the names of the shards only
    tfds.folder_dataset.write_metadata(
        data_dir=place,
        features=prepared.features(source.resolution, list(source.class_names)),
        split_infos=splits,
        filename_template=files(),
        version=prepared.VERSION,
        check_data=False,
        description=f"{source.name} at {source.resolution} px: {RESIZE}",
        metadata=tfds.core.MetadataDict(source=source.name, resolution=source.resolution, resize=RESIZE),
    )
    for name in names:
        name.unlink()


def _check_room(place: epath.Path, needed: int) -> None:
    if is_object_store(place):
        return
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DataError(
            f"--output={place} has {free / 1e9:.2f} GB free, and {needed / 1e9:.2f} GB are still to be "
            "written: make room or give another folder"
        )


@contextlib.contextmanager
def _only_writer(place: epath.Path) -> Iterator[None]:
    if is_object_store(place):  # no locks there: a second writer would write the same files
        yield
        return

    def busy(_: IO[str]) -> None:
        raise DataError(f"--output={place}: another process is writing there")

    with locked(Path(place) / ".lock", busy):
        yield
