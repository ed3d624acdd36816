"""Opens image classification sets of TensorFlow Datasets (TFDS) by name.

Small sets are decoded into memory. Large ones, such as imagenet2012, are read example by example in the order
of the pipeline, which needs ArrayRecord files.
"""

import bisect
import functools
import itertools
import os
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from biggan_jax.data.records import MAX_REFUSED, RecordSource
from biggan_jax.data.source import IN_MEMORY_BYTES, DataError, Source
from biggan_jax.data.tensorflow_runtime import import_tensorflow, import_tfds
from biggan_jax.runtime.locks import exclusive
from biggan_jax.runtime.paths import user_path

RANDOM_ACCESS = "array_record"


def open_split(name: str, split: str, resolution: int, *, max_refused: float = MAX_REFUSED) -> Source:
    """Opens a split of a set of TFDS, which is downloaded and prepared first if necessary.

    The data directory is that of TFDS: $TFDS_DATA_DIR, or else ~/tensorflow_datasets.

    Args:
      name: Name of the set in TFDS.
      split: Split of the set.
      resolution: Pixels a side.
      max_refused: Share of the pictures that may be unusable.

    Returns:
      The split, in memory if it is small.

    Raises:
      DataError: The set or split does not exist, the set has no 8-bit `image` and `label`, it cannot be
        prepared, or it is too large for memory and its files do not allow random access.
    """
    source = open_records(name, split, resolution, max_refused=max_refused)
    if source.num_bytes <= IN_MEMORY_BYTES:
        return source.in_memory()
    if isinstance(source.records, SequentialFiles):
        raise DataError(
            f"tfds:{name} takes {source.num_bytes / 2**30:.1f} GiB of memory at {resolution} px, and its "
            "files do not allow random access: rewrite them with 'python -m biggan_jax.prepare "
            f"--source=tfds:{name} --resolution={resolution} --output=DIR' and set data.source=prepared:DIR"
        )
    return source


def open_records(name: str, split: str, resolution: int, *, max_refused: float = MAX_REFUSED) -> RecordSource:
    """Opens a split as `open_split` does, but reads and decodes on demand, even without random access.

    Args:
      name: Name of the set in TFDS.
      split: Split of the set.
      resolution: Pixels a side.
      max_refused: Share of the pictures that may be unusable.

    Returns:
      The split.
    """
    builder = prepared_builder(name)
    check_features(name, builder.info.features)
    return open_builder(builder, f"tfds:{name}", split, resolution, max_refused=max_refused)


def open_splits(name: str, resolution: int, max_refused: float) -> dict[str, RecordSource]:
    """Opens all labelled splits of a set, as `open_records` does.

    Args:
      name: Name of the set in TFDS.
      resolution: Pixels a side.
      max_refused: Share of the pictures that may be unusable.

    Returns:
      The sources by split.

    Raises:
      DataError: As `open_records`, or no split has labels.
    """
    splits = {
        split: open_records(name, split, resolution, max_refused=max_refused)
        for split, info in prepared_builder(name).info.splits.items()
        if info.num_examples
    }
    labelled = {split: source for split, source in splits.items() if source.parse(source.records[0])[1] >= 0}
    if not labelled:
        raise DataError(f"tfds:{name} has no split with labels: choose another set")
    return labelled


def open_builder(
    builder: Any,
    name: str,
    split: str,
    resolution: int,
    **fields: Any,
) -> RecordSource:
    """Opens a split of a prepared builder of TFDS.

    Args:
      builder: Prepared builder with the features `image` and `label`.
      name: Name, as in the config's `data.source`.
      split: Split of the builder.
      resolution: Pixels a side.
      **fields: Further fields of `RecordSource`.

    Returns:
      The split.

    Raises:
      DataError: The split does not exist or has no images, or its file format is unknown.
    """
    num_examples = _num_examples(name, builder.info.splits, split)
    if num_examples == 0:
        raise DataError(f"{name} has no images in {split!r}: choose another data.split")
    if RANDOM_ACCESS in _formats(builder):
        raw = import_tfds().decode.DeserializeMethod.RAW_BYTES
        records = builder.as_data_source(split, deserialize_method=raw)
    elif "tfrecord" in _formats(builder):
        records = SequentialFiles(builder.info.splits[split].file_instructions)
    else:
        raise DataError(
            f"{name} in {builder.data_dir} is stored as {', '.join(_formats(builder))}, not as "
            f"{RANDOM_ACCESS} or tfrecord: prepare it in another TFDS_DATA_DIR"
        )
    return RecordSource(
        name=name,
        description=f"{builder.name} {builder.version} of TensorFlow Datasets; {split}: {num_examples:,}",
        num_examples=num_examples,
        class_names=tuple(builder.info.features["label"].names),
        resolution=resolution,
        records=records,
        parse=parse_example,
        **fields,
    )


def parse_example(record: bytes) -> tuple[bytes, int]:
    """Returns the bytes of `image` and the number of `label` in a serialized tf.train.Example."""
    features = import_tensorflow().train.Example.FromString(record).features.feature
    return features["image"].bytes_list.value[0], features["label"].int64_list.value[0]


class SequentialFiles:
    """Records of TFRecord files, which are read from their beginning; efficient only for reading in order.

    Args:
      parts: Instructions of TFDS: files, and the records to skip and take.
    """

    def __init__(self, parts: Any):
        self._parts = parts
        self._ends = list(itertools.accumulate(part.take for part in parts))
        self._lock = threading.Lock()
        self._read = functools.lru_cache(maxsize=2)(self._read_part)  # readers can cross two files

    def __getitem__(self, number: int) -> bytes:
        index = bisect.bisect_right(self._ends, number)
        with self._lock:
            records = self._read(index)
        record = records[number - self._ends[index]]  # a negative index, from the end of its file
        if isinstance(record, Exception):
            raise record
        return record

    def _read_part(self, index: int) -> list[bytes | Exception]:
        part, tf = self._parts[index], import_tensorflow()
        records = tf.data.TFRecordDataset(os.fspath(part.filename)).skip(part.skip).take(part.take)
        whole: list[bytes | Exception] = []
        try:
            for record in records.as_numpy_iterator():
                whole.append(record)
        except tf.errors.OpError as error:  # nobody knows where the next record begins
            whole += [error] * (part.take - len(whole))
        return whole


def is_prepared(name: str) -> bool:
    """Returns whether TFDS has prepared a set; imports TensorFlow only if its folder exists."""
    if not (Path(_data_dir()) / name).is_dir():
        return False
    return import_tfds().builder(name, data_dir=_data_dir()).is_prepared()


def prepared_builder(name: str) -> Any:
    """Returns the builder of a set, after one process has prepared the set if necessary.

    Args:
      name: Name of the set in TFDS.

    Returns:
      The builder.

    Raises:
      DataError: The set does not exist, or cannot be prepared.
    """
    tfds = import_tfds()
    try:
        builder = tfds.builder(name, data_dir=_data_dir())
        if builder.is_prepared():
            return builder
    except Exception as error:  # AssertionError for a version, ImportError for a package that is missing
        raise DataError(
            f"TensorFlow Datasets has no {name!r} ({_first_line(error)}): see "
            "https://www.tensorflow.org/datasets/catalog for its names"
        ) from error
    with exclusive(Path(_data_dir()), builder.name, "preparing"):
        # Opened again, because another process may have prepared it meanwhile.
        builder = tfds.builder(name, data_dir=_data_dir())
        if builder.is_prepared():
            return builder
        builder = tfds.builder(name, data_dir=_data_dir(), file_format=RANDOM_ACCESS)
        try:
            _check_network(builder)
            builder.download_and_prepare()
        except Exception as error:  # from a missing network to an archive that must be downloaded by hand
            raise DataError(
                f"TensorFlow Datasets could not prepare {name} in {builder.data_dir} ({_reason(error)}): "
                f"start again once 'tfds build {name} --file_format={RANDOM_ACCESS}' has succeeded"
            ) from error
    return builder


def check_features(name: str, features: Any) -> None:
    """Raises `DataError` unless a set has an 8-bit `image` and a class `label`."""
    tfds = import_tfds()
    given = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = given.get("image"), given.get("label")
    is_image = isinstance(image, tfds.features.Image) and image.dtype == np.uint8  # pyright: ignore[reportOptionalMemberAccess]
    if not (is_image and isinstance(label, tfds.features.ClassLabel)):
        raise DataError(
            f"tfds:{name} has the features {', '.join(sorted(given))}, but an 8-bit 'image' and a class "
            "'label' are needed: choose an image classification set"
        )


def unknown_split(name: str, split: str, splits: Iterable[str]) -> DataError:
    """Returns the error for a split that a source does not have."""
    return DataError(
        f"{name} has no split {split!r}: set data.split to one of {', '.join(splits)}, or a part "
        "such as 'train[:90%]'"
    )


def _data_dir() -> str:
    return user_path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets", "TFDS_DATA_DIR=")


def _formats(builder: Any) -> list[str]:
    return [file_format.value for file_format in builder.info.available_file_formats()]


def _check_network(builder: Any) -> None:
    """Raises an error at once if no server of the set's files can be found; TFDS would try for minutes."""
    downloads = Path(_data_dir()) / "downloads"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:  # its archives are on no server
        return
    if urllib.request.getproxies() or (downloads.is_dir() and any(downloads.iterdir())):
        return
    servers = {urllib.parse.urlsplit(url).hostname for url in builder.url_infos or ()} - {None}
    for server in sorted(servers):
        try:
            socket.getaddrinfo(server, 443)
            return
        except OSError as error:
            reason = f"{server} cannot be found: {error.strerror or error}"
    if servers:
        raise ConnectionError(reason)


def _reason(error: Exception) -> str:
    """Returns the reason in an error, without traces and advice.

    An AssertionError names an archive that must be downloaded by hand, and is kept whole.
    """
    return str(error).strip() if isinstance(error, AssertionError) else _first_line(error)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(":")


def _num_examples(name: str, splits: Any, split: str) -> int:
    try:
        return splits[split].num_examples
    except (KeyError, ValueError) as error:
        raise unknown_split(name, split, splits) from error
