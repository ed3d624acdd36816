"""Names of data sources, as `data.source` in a config gives them, and what they open."""

import logging

from biggan_jax.data import fashion_mnist, folder, prepared, tfds_images
from biggan_jax.data.records import MAX_REFUSED
from biggan_jax.data.source import DataError, Source

KNOWN = (
    "fashion_mnist, tfds:NAME for a set of TensorFlow Datasets such as tfds:cifar10, folder:PATH for "
    "pictures in one sub-folder a class, or prepared:PATH for what biggan_jax.prepare has written"
)


def open_source(
    name: str,
    split: str = "train",
    *,
    resolution: int,
    num_classes: int | None = None,
    max_refused: float = MAX_REFUSED,
) -> Source:
    """Opens a split of a data set as images of `resolution` × `resolution` pixels.

    Args:
      name: "fashion_mnist", "tfds:NAME" (also "tfds:NAME/CONFIG"), "folder:PATH" or "prepared:PATH".
      split: "train" is for training and "test" or "validation" for evaluation; any split that the source has.
        A folder has "train" only; a part is named as in TFDS, "train[:90%]".
      resolution: pixels a side.
      num_classes: classes of the model that the images are for, checked against the labels when given.
      max_refused: share of a source's pictures that may be unusable; they are left out, or, where it shows
        only later, replaced.

    Raises:
      DataError: the name or split is unknown, files are missing or too many of them broken, the set has other
        features than `image` and `label`, the resolution is one the set cannot give, or labels exceed
        `num_classes`.
    """
    kind, _, rest = name.partition(":")
    if name == "fashion_mnist":
        source = fashion_mnist.open_split(split, resolution)
    elif kind == "tfds" and rest:
        source = tfds_images.open_split(rest, split, resolution, max_refused=max_refused)
    elif kind == "folder" and rest:
        source = folder.open_split(rest, split, resolution, max_refused=max_refused)
    elif kind == "prepared" and rest:
        source = prepared.open_split(rest, split, resolution)
    else:
        raise DataError(f"data.source = {name!r} is unknown: give {KNOWN}")
    if num_classes is not None:
        _check_classes(source, num_classes)
    return source


def _check_classes(source: Source, num_classes: int) -> None:
    if source.num_classes > num_classes:
        raise DataError(
            f"{source.name} has labels 0 to {source.num_classes - 1}, but model.num_classes = {num_classes}: "
            f"set model.num_classes={source.num_classes}"
        )
    if source.num_classes < num_classes:
        logging.warning(
            "%s has %d classes, model.num_classes = %d: the classes beyond will see no real image",
            source.name,
            source.num_classes,
            num_classes,
        )
