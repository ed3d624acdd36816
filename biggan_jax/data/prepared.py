"""Opens sets that biggan_jax.prepare has written: square pictures of one size, uncompressed, in ArrayRecords.

TensorFlow Datasets reads them too, with tfds.builder_from_directory(PATH). The pixels are not compressed,
because decoding a PNG of 128 px would take longer than the rest of the pipeline.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from biggan_jax.data.decode import UnusablePicture
from biggan_jax.data.records import MAX_REFUSED, RecordSource
from biggan_jax.data.shards import check_finished, read_state
from biggan_jax.data.source import IN_MEMORY_BYTES, DataError, Source
from biggan_jax.data.tensorflow_runtime import import_tfds
from biggan_jax.data.tfds_images import open_builder
from biggan_jax.data.verification import changed_metadata
from biggan_jax.runtime.files import resolve_directory

NAME = "prepared_images"
VERSION = "1.0.0"


def features(resolution: int, class_names: list[str]) -> Any:
    """Returns the features of TFDS that each example has: pixels and a label.

    Args:
      resolution: Pixels a side.
      class_names: Name of each class.

    Returns:
      A FeaturesDict of TFDS.
    """
    tfds = import_tfds()

    pixels = tfds.features.Tensor(shape=(resolution, resolution, 3), dtype=np.uint8, encoding="bytes")
    return tfds.features.FeaturesDict({"image": pixels, "label": tfds.features.ClassLabel(names=class_names)})


def open_split(path: str, split: str, resolution: int, *, max_refused: float = MAX_REFUSED) -> Source:
    """Opens a split of a prepared set, in memory if it is small.

    Args:
      path: Folder of the set, on this machine or in a bucket, gs://….
      split: Split of the set.
      resolution: Pixels a side.
      max_refused: Share of the pictures whose records may be damaged.

    Returns:
      The split.

    Raises:
      DataError: As `open_records`.
    """
    source = open_records(path, split, resolution, max_refused=max_refused)
    return source.in_memory() if source.num_bytes <= IN_MEMORY_BYTES else source


def open_records(path: str, split: str, resolution: int, *, max_refused: float = MAX_REFUSED) -> RecordSource:
    """Opens a split of a prepared set, whose examples are read from its files.

    Args:
      path: Folder of the set, on this machine or in a bucket, gs://….
      split: Split of the set.
      resolution: Pixels a side.
      max_refused: Share of the pictures whose records may be damaged.

    Returns:
      The split.

    Raises:
      DataError: The folder holds no finished set, its metadata is damaged, the set has another resolution or
        no such split, or it cannot be copied from its bucket.
    """
    name = f"prepared:{path}"
    if "://" in path:
        from biggan_jax.data.bucket import local_copy  # imported late: local sets need none of its packages

        folder = local_copy(path)
    else:
        folder = Path(resolve_directory(path, "prepared:"))
        check_finished(folder, name)
    _check_metadata(folder, name)
    builder = import_tfds().builder_from_directory(folder)
    image = builder.info.features["image"]
    if image.shape != (resolution, resolution, 3):
        raise DataError(
            f"{name} has pictures of {image.shape[0]} px, not {resolution}: set model.resolution="
            f"{image.shape[0]}, or prepare the set again with --resolution={resolution}"
        )
    return open_builder(builder, name, split, resolution, decode=pixels_of, max_refused=max_refused)


def _check_metadata(folder: Path, name: str) -> None:
    state = read_state(folder)
    metadata = {} if state is None else state.get("metadata", {})
    if not metadata:
        logging.warning("%s was prepared by an older version: its metadata could not be verified", name)
    if damaged := changed_metadata(folder, metadata):
        raise DataError(
            f"the metadata of {name} is damaged ({', '.join(sorted(damaged))} in {folder}): delete these "
            "files, and run the command that wrote the set again, which writes them anew"
        )


def pixels_of(stored: bytes, resolution: int) -> np.ndarray:
    """Returns stored bytes as u8[resolution, resolution, 3]; raises `UnusablePicture` for a wrong length."""
    if len(stored) != resolution**2 * 3:
        raise UnusablePicture(f"has {len(stored):,} bytes instead of {resolution**2 * 3:,}")
    return np.frombuffer(stored, np.uint8).reshape(resolution, resolution, 3)
