"""Writes the pictures of a source, decoded and resized, as a set of TensorFlow Datasets.

    OUTPUT/preparation.json    the plan of the set, and whether it is finished
           refused.txt         the pictures that were left out, with reasons
           prepared_images-train.array_record-00003-of-00012         a complete shard
           prepared_images-train.array_record-00003-of-00012.json    its examples, bytes, SHA-256 and refusals
           dataset_info.json, features.json, label.labels.txt        the metadata of TFDS, written last

An interrupted preparation continues with the shards that are missing, incomplete or changed since they were
written; that of TFDS would start again.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from etils import epath

from biggan_jax.data import prepared
from biggan_jax.data.decode import REDUCED_TO
from biggan_jax.data.records import RecordSource
from biggan_jax.data.shard_examples import (
    check_refused,
    intact_shards,
    record_size,
    refused_pictures,
    shards_of,
    write_examples,
    written_shards,
)
from biggan_jax.data.shards import STATE, ShardInfo, description_of, read_state, sha256_of, write_state
from biggan_jax.data.source import DataError
from biggan_jax.data.tfds_metadata import write_metadata
from biggan_jax.runtime.files import PREPARED_SET, is_object_store, reading, resolve_directory, write_file
from biggan_jax.runtime.ownership import owning
from biggan_jax.runtime.progress import track

RESIZE = (
    "the centred square, resized by area as Pillow's BOX filter does; a JPEG is decoded at 1/2, 1/4 or 1/8 "
    f"of its size where that leaves at least {REDUCED_TO} × the resolution"
)
LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of a preparation.

    Attributes:
      images: Number of images by split.
      classes: Number of classes.
      bytes: Size of all shards.
      refused: Reasons why pictures were left out, by picture.
      enlarged: Number of a folder's pictures that had fewer pixels than the resolution.
      was_finished: Whether the set was finished before.
    """

    images: dict[str, int]
    classes: int
    bytes: int
    refused: dict[str, str]
    enlarged: int
    was_finished: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan of a set, which an interrupted preparation must share to continue.

    Attributes:
      version: Version of the format.
      source: Name of the source.
      resolution: Pixels a side.
      resize: Description of how the pictures are resized.
      splits: Number of pictures by split.
      pictures: Fingerprint of the sources.
    """

    version: str
    source: str
    resolution: int
    resize: str
    splits: dict[str, int]
    pictures: str

    def __str__(self) -> str:
        sizes = ", ".join(f"{split} {count:,}" for split, count in self.splits.items())
        return f"{self.source} at {self.resolution} px ({sizes})"

    def changes(self, other: "Plan") -> list[str]:
        """Returns the names of the attributes that differ between two plans."""
        own, others = dataclasses.asdict(self), dataclasses.asdict(other)
        return [name for name in own if own[name] != others[name]]


def write_prepared(
    sources: dict[str, RecordSource],
    output: str,
    max_refused: float,
    write_missing: Callable[[epath.Path, dict[str, RecordSource]], None] | None = None,
) -> Summary:
    """Writes all splits of a set, or continues an interrupted call with the same arguments.

    Args:
      sources: Sources by split, all of one set.
      output: Folder, which may not exist yet, or gs://….
      max_refused: Share of the pictures that may be unusable; these are left out.
      write_missing: Function that writes the missing shards; by default this process writes them.

    Returns:
      The result.

    Raises:
      DataError: The output holds other files, space is lacking, or too many pictures are unusable.
      UserError: Another process writes there.
    """
    place = resolve_directory(output, "--output=")
    plan = _plan(sources)
    with reading(place):
        state = read_state(place)
        # A process that was killed at its first write leaves the lock's file and a part of the plan.
        ours = {LOCK, f".{STATE}.part"}
        used = state is None and place.exists() and any(path.name not in ours for path in place.iterdir())
    if used:
        raise DataError(f"--output={output} is not empty: give a new folder")
    if state is not None and (changes := plan.changes(Plan(**state["plan"]))):
        raise DataError(
            f"--output={output} holds {Plan(**state['plan'])}, but the command writes {plan} (different: "
            f"{', '.join(changes)}): give a new folder, or delete this one"
        )
    if state is not None and state["finished"] and _has_all_files(place, sources, state):
        return Summary(**state["summary"] | {"was_finished": True})
    with owning(place, LOCK, PREPARED_SET):
        write_state(place, {"plan": dataclasses.asdict(plan), "finished": False})
        if write_missing:
            write_missing(place, sources)
            shards = {
                split: _read_shards(place, split, source, max_refused) for split, source in sources.items()
            }
        else:
            shards = {
                split: _write_split(place, split, source, max_refused) for split, source in sources.items()
            }
        summary, metadata = _finish(place, sources, shards)
        state = {
            "plan": dataclasses.asdict(plan),
            "finished": True,
            "summary": dataclasses.asdict(summary),
            "metadata": metadata,
        }
        write_state(place, state)
    return summary


def _has_all_files(place: epath.Path, sources: dict[str, RecordSource], state: Mapping[str, Any]) -> bool:
    """Returns whether a finished set lacks no file, as it does after damaged ones were deleted."""
    expected = set(state.get("metadata", {}))
    for split, source in sources.items():
        for shard in shards_of(place, split, source):
            expected |= {shard.file.name, description_of(shard.file).name}
    return expected <= {file.name for file in place.iterdir()}


def _plan(sources: dict[str, RecordSource]) -> Plan:
    first = next(iter(sources.values()))
    sizes = {split: source.num_examples for split, source in sources.items()}
    return Plan(prepared.VERSION, first.name, first.resolution, RESIZE, sizes, fingerprint(sources))


def fingerprint(sources: dict[str, RecordSource]) -> str:
    """Returns a hash that changes with the pictures, their order and their classes."""
    content = json.dumps([[source.class_names, source.listing_hash] for source in sources.values()])
    return hashlib.sha256(content.encode()).hexdigest()


def _read_shards(place: epath.Path, split: str, source: RecordSource, max_refused: float) -> list[ShardInfo]:
    """Returns the descriptions of all shards of a split after other processes have written them."""
    written = written_shards(place, shards_of(place, split, source))
    check_refused(source, refused_pictures(written), max_refused)
    finished = [info for info in written if info]
    if len(finished) != len(written):
        raise DataError(f"{place} lacks shards of {split}: the same command writes them")
    return finished


def _write_split(place: epath.Path, split: str, source: RecordSource, max_refused: float) -> list[ShardInfo]:
    """Writes the missing shards of a split, and returns the descriptions of all of its shards."""
    shards = shards_of(place, split, source)
    written = intact_shards(place, shards)
    missing = [number for number, info in enumerate(written) if not info]
    left = sum(shards[number].end - shards[number].start for number in missing)
    refused = refused_pictures(written)
    _check_room(place, left * record_size(source))

    def write() -> Iterator[tuple[int, int]]:
        with concurrent.futures.ThreadPoolExecutor(source.threads) as pool:
            for number in missing:
                written[number] = yield from write_examples(
                    source, shards[number], pool, refused, max_refused
                )

    for _ in track(
        write(), f"preparing {split}", source.num_examples, source.num_examples - left, unit="images"
    ):
        pass
    return [info for info in written if info]


def _finish(
    place: epath.Path, sources: dict[str, RecordSource], shards: dict[str, list[ShardInfo]]
) -> tuple[Summary, dict[str, str]]:
    """Writes the metadata of TFDS and the list of refused pictures.

    Returns:
      The summary, and SHA-256 of each file of metadata by its name.
    """
    first, metadata = next(iter(sources.values())), {}
    with tempfile.TemporaryDirectory() as temporary:
        write_metadata(Path(temporary), first, shards, RESIZE)
        for file in Path(temporary).iterdir():
            write_file(place / file.name, file.read_bytes(), PREPARED_SET)
            metadata[file.name] = sha256_of(file)
    refused = {name: reason for source in sources.values() for name, reason in source.refused.items()}
    refused |= {name: reason for infos in shards.values() for name, reason in refused_pictures(infos).items()}
    if refused:
        lines = [f"{name}\t{reason}\n" for name, reason in sorted(refused.items())]
        write_file(place / "refused.txt", "".join(lines).encode(), PREPARED_SET)
    summary = Summary(
        images={split: sum(info.examples for info in infos) for split, infos in shards.items()},
        classes=first.num_classes,
        bytes=sum(info.bytes for infos in shards.values() for info in infos),
        refused=refused,
        enlarged=getattr(first, "enlarged", 0),
        was_finished=False,
    )
    return summary, metadata


def _check_room(place: epath.Path, needed: int) -> None:
    if is_object_store(place):
        return
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DataError(
            f"--output={place} has {free / 1e9:.2f} GB free, but the set needs another "
            f"{needed / 1e9:.2f} GB: free some space, or give another folder"
        )
