"""Names of data sources, as `data.source` in a config gives them, and what they open."""

import logging

from biggan_jax.data import fashion_mnist, tfds_images
from biggan_jax.data.source import DataError, Source

KNOWN = "fashion_mnist, or tfds:NAME for a set of TensorFlow Datasets such as tfds:cifar10"


def open_source(
    name: str, split: str = "train", *, resolution: int, num_classes: int | None = None
) -> Source:
    """Opens a split of a data set as images of `resolution` × `resolution` pixels.

    Args:
      name: "fashion_mnist", or "tfds:NAME" (also "tfds:NAME/CONFIG").
      split: "train" is for training and "test" or "validation" for evaluation; for TFDS any split it has,
        also "train[:90%]".
      resolution: pixels a side.
      num_classes: classes of the model that the images are for, checked against the labels when given.

    Raises:
      DataError: the name or split is unknown, files are missing or broken, the set has other features than
        `image` and `label`, the resolution is one the set cannot give, or labels exceed `num_classes`.
    """
    kind, _, rest = name.partition(":")
    if name == "fashion_mnist":
        source = fashion_mnist.open_split(split, resolution)
    elif kind == "tfds" and rest:
        source = tfds_images.open_split(rest, split, resolution)
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
