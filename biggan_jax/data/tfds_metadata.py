"""Describes a prepared set in the files of TensorFlow Datasets, so that TFDS can read it."""

from pathlib import Path
from typing import Any

from biggan_jax.data import prepared
from biggan_jax.data.records import RecordSource
from biggan_jax.data.shards import ShardInfo
from biggan_jax.data.tensorflow_runtime import import_tfds


def write_metadata(
    folder: Path, source: RecordSource, shards: dict[str, list[ShardInfo]], resize: str
) -> None:
    """Writes the files in which TFDS describes a set.

    Args:
      folder: Empty folder for these files.
      source: Source of the first split.
      shards: Descriptions of the shards by split.
      resize: Description of how the pictures were resized.
    """
    tfds = import_tfds()

    def files(**fields: str) -> Any:
        return tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name=prepared.NAME, filetype_suffix="array_record", **fields
        )

    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[part.examples for part in parts],
            num_bytes=sum(part.bytes for part in parts),
            filename_template=files(split=split),
        )
        for split, parts in shards.items()
    ]
    names = [folder / name for split in splits for name in split.filenames]
    for name in names:
        name.touch()  # TFDS reads only the names of the shards
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=prepared.features(source.resolution, list(source.class_names)),
        split_infos=splits,
        filename_template=files(),
        version=prepared.VERSION,
        check_data=False,
        description=f"{source.name} at {source.resolution} px: {resize}",
        metadata=tfds.core.MetadataDict(source=source.name, resolution=source.resolution, resize=resize),
    )
    for name in names:
        name.unlink()
