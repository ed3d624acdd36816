"""Image classification sets of TensorFlow Datasets (TFDS), by name.

Small ones are decoded into memory. Large ones, such as imagenet2012, are read example by example in the order
that the pipeline asks for, which takes ArrayRecord files.
"""

import os
from pathlib import Path
from typing import Any

from biggan_jax.data.records import RecordSource, collect, decode_example
from biggan_jax.data.source import DataError, Source
from biggan_jax.data.tensorflow_runtime import import_tensorflow

IN_MEMORY_BYTES = 2**30  # of decoded images; CIFAR-10 and its like need far less, ImageNet more
RANDOM_ACCESS = "array_record"


def open_split(name: str, split: str, resolution: int) -> Source:
    """Opens a split of TFDS's set `name`, which is downloaded and prepared first where that is still to do.

    The data directory is TFDS's own: $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
      DataError: no such set, no such split, no 8-bit `image` and `label` in it, it could not be prepared, or
        it is too large for memory and stored in files that can't be read in any order.
    """
    tfds = _import_tfds()
    builder = _prepared_builder(name)
    parse = _parser(name, builder.info.features)
    num_examples = _num_examples(name, builder.info.splits, split)
    if num_examples == 0:
        raise DataError(f"tfds:{name} has no images in {split!r}: choose another data.split")
    num_bytes = num_examples * resolution**2 * 3
    in_memory = num_bytes <= IN_MEMORY_BYTES
    class_names = tuple(builder.info.features["label"].names)
    description = {
        "name": f"tfds:{name}",
        "description": f"{name} {builder.version} of TensorFlow Datasets; {split}: {num_examples:,}",
        "num_examples": num_examples,
        "class_names": class_names,
        "resolution": resolution,
    }

    if RANDOM_ACCESS in {file_format.value for file_format in builder.info.available_file_formats()}:
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        records = builder.as_data_source(split, deserialize_method=raw)
        source = RecordSource(**description, records=records, parse=parse)
        return source.in_memory() if in_memory else source

    if in_memory:
        encoded = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})

        def decode(example):
            return decode_example(example["image"], example["label"], resolution, len(class_names))

        return collect(
            encoded, lambda examples: examples.map(decode, num_parallel_calls=os.cpu_count()), description
        )

    raise DataError(
        f"tfds:{name} takes {num_bytes / 2**30:.1f} GiB of memory at {resolution} px, and its files, in "
        f"{builder.data_dir}, can't be read in random order instead: prepare it in another TFDS_DATA_DIR "
        f"with 'tfds build {name} --file_format={RANDOM_ACCESS}'"
    )


def is_prepared(name: str) -> bool:
    """Whether TFDS's data directory holds the set ready to read; TensorFlow is imported only if it may."""
    if not (Path(_data_dir() or Path.home() / "tensorflow_datasets") / name).is_dir():
        return False
    return _import_tfds().builder(name, data_dir=_data_dir()).is_prepared()


def _data_dir() -> str | None:
    return os.environ.get("TFDS_DATA_DIR")


def _import_tfds():
    import_tensorflow()
    import tensorflow_datasets as tfds

    return tfds


def _prepared_builder(name: str):
    tfds = _import_tfds()
    try:
        builder = tfds.builder(name, data_dir=_data_dir())
        if builder.is_prepared():
            return builder
        builder = tfds.builder(name, data_dir=_data_dir(), file_format=RANDOM_ACCESS)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise DataError(
            f"TensorFlow Datasets has no {name!r} ({_first_line(error)}): see "
            "https://www.tensorflow.org/datasets/catalog for its names"
        ) from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # anything, from no network to an archive that has to be fetched by hand
        raise DataError(
            f"TensorFlow Datasets could not prepare {name} in {builder.data_dir} ({_first_line(error)}): "
            f"start again once 'tfds build {name} --file_format={RANDOM_ACCESS}' has succeeded"
        ) from error
    return builder


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(":")


def _parser(name: str, features: Any):
    tf, tfds = import_tensorflow(), _import_tfds()
    given = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = given.get("image"), given.get("label")
    is_image = isinstance(image, tfds.features.Image) and image.dtype == tf.uint8
    if not (is_image and isinstance(label, tfds.features.ClassLabel)):
        raise DataError(
            f"tfds:{name} has the features {', '.join(sorted(given))}, but an 8-bit 'image' and a class "
            "'label' are needed: choose an image classification set"
        )
    stored = {key: features.tf_example_spec[key] for key in ("image", "label")}

    def parse(record):
        example = tf.io.parse_single_example(record, stored)
        return example["image"], example["label"]

    return parse


def _num_examples(name: str, splits: Any, split: str) -> int:
    try:
        return splits[split].num_examples
    except (KeyError, ValueError) as error:
        raise DataError(
            f"tfds:{name} has no split {split!r}: set data.split to one of {', '.join(splits)}, or a part "
            "such as 'train[:90%]'"
        ) from error
