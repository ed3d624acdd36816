"""The data sources that `data.source` can name: one entry of `SOURCES` for each.

A source is a module with one function, `open_split(argument, split, resolution, *, max_refused)`, which
returns a `Source`. To add one, write the module and add its line to `SOURCES`. The table holds all that the
config has to know of a source, and importing it imports no module of a source.
"""

import dataclasses
import functools
import importlib
import logging
from collections.abc import Mapping
from pathlib import PurePath

from biggan_jax.data.records import MAX_REFUSED, RecordSource
from biggan_jax.data.source import DataError, Source


@dataclasses.dataclass(frozen=True)
class SourceKind:
    """What the config and messages need to know of a source before it is opened.

    Attributes:
      module: Module whose `open_split` opens the source. If its pictures can be prepared, its `open_splits`
        opens all labelled splits.
      usage: How to name the source, for messages; a name that takes an argument has a colon here.
      is_path: Whether the argument is a path on this machine or in a bucket.
      classes: Number of classes by argument, as far as it is known; the argument is "" where none is taken.
    """

    module: str
    usage: str
    is_path: bool = False
    classes: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def takes_argument(self) -> bool:
        """Whether the name of the source continues after a colon."""
        return ":" in self.usage


PACKAGED, OFFICIAL = "biggan_jax.data.fashion_mnist.packaged", "biggan_jax.data.fashion_mnist.official"
TFDS, FOLDER, PREPARED = "biggan_jax.data.tfds_images", "biggan_jax.data.folder", "biggan_jax.data.prepared"
TFDS_USAGE = "tfds:NAME for a set of TensorFlow Datasets such as tfds:cifar10"
TFDS_CLASSES = {"fashion_mnist": 10, "mnist": 10, "cifar10": 10, "cifar100": 100, "imagenet2012": 1000}
FOLDER_USAGE = "folder:PATH for pictures with one sub-folder for each class"
PREPARED_USAGE = "prepared:PATH for the output of biggan_jax.prepare"

SOURCES: dict[str, SourceKind] = {
    "fashion_mnist_10k": SourceKind(PACKAGED, "fashion_mnist_10k", classes={"": 10}),
    "fashion_mnist_60k": SourceKind(OFFICIAL, "fashion_mnist_60k", classes={"": 10}),
    "tfds": SourceKind(TFDS, TFDS_USAGE, classes=TFDS_CLASSES),
    "folder": SourceKind(FOLDER, FOLDER_USAGE, is_path=True),
    "prepared": SourceKind(PREPARED, PREPARED_USAGE, is_path=True),
}

# Names in configs of older versions: the present name, and what a person has to know.
OLD_NAMES: dict[str, tuple[str, str]] = {
    "fashion_mnist": (
        "fashion_mnist_10k",
        "the 10,000 official test images that come with the package. A run that learnt from all 60,000 "
        "training images under the old name needs fashion_mnist_60k",
    ),
}


def open_source(
    name: str,
    split: str = "train",
    *,
    resolution: int,
    num_classes: int | None = None,
    fewer_classes: bool = False,
    max_refused: float = MAX_REFUSED,
) -> Source:
    """Opens a split of a data set as images of `resolution` × `resolution` pixels.

    Args:
      name: Name of a source, such as "fashion_mnist_10k", "tfds:NAME", "tfds:NAME/CONFIG" or "folder:PATH".
      split: Split of the source: "train" for training, "test" or "validation" for evaluation. A folder has
        "train" only. A part is named as in TFDS, such as "train[:90%]".
      resolution: Pixels a side.
      num_classes: Number of classes of the model that uses the images; it must be that of the source.
      fewer_classes: Whether the source may have fewer classes than the model. A model cannot learn a class
        without images, but it can be evaluated on some of its classes.
      max_refused: Share of the source's pictures that may be unusable. These are left out; if reading shows
        only later that a picture is unusable, another one replaces it.

    Returns:
      The split as a numbered collection of images.

    Raises:
      DataError: The name or split is unknown, files are missing or too many of them broken, the set has other
        features than `image` and `label`, it does not have this resolution, or its number of classes is not
        `num_classes`.
    """
    kind, argument = _parse(name)
    if kind is None:
        usages = [known.usage for known in SOURCES.values()]
        raise DataError(f"data.source = {name!r} is unknown: give {', '.join(usages[:-1])}, or {usages[-1]}")
    if name in OLD_NAMES:
        _warn_of_old_name(name)
    module = importlib.import_module(kind.module)
    source = module.open_split(argument, split, resolution, max_refused=max_refused)
    if num_classes is not None:
        _check_classes(source, num_classes, fewer_classes)
    return source


def open_splits(name: str, resolution: int, max_refused: float) -> dict[str, RecordSource]:
    """Opens all labelled splits of a source whose pictures can be prepared.

    Args:
      name: Name of a source, such as "tfds:NAME" or "folder:PATH".
      resolution: Pixels a side.
      max_refused: Share of the pictures that may be unusable.

    Returns:
      The sources by split.

    Raises:
      DataError: The source is unknown or broken, or needs no preparation.
    """
    kind, argument = _parse(name)
    module = importlib.import_module(kind.module) if kind else None
    if module is None or not hasattr(module, "open_splits"):
        raise DataError(f"--source={name}: give tfds:NAME or folder:PATH; other sources need no preparation")
    return module.open_splits(argument, resolution, max_refused)


def known_classes(name: str) -> int | None:
    """Returns the number of classes of a source, or None if only opening the source tells."""
    kind, argument = _parse(name)
    return kind.classes.get(argument.partition("/")[0].partition(":")[0]) if kind else None


def is_path(name: str) -> bool:
    """Returns whether the name of a source holds a path, as `folder:PATH` does."""
    kind, _ = _parse(name)
    return kind is not None and kind.is_path


def without_directories(name: str) -> str:
    """Shortens a path in the name of a source to its last part: `folder:/home/user/cats` → `folder:cats`."""
    if not is_path(name):
        return name
    kind, _, path = name.partition(":")
    return f"{kind}:{PurePath(path).name}"


def present_name(name: str) -> str:
    """Returns the name that a source has now; only a name of an older version changes."""
    return OLD_NAMES[name][0] if name in OLD_NAMES else name


@functools.cache  # a command may open several splits
def _warn_of_old_name(name: str) -> None:
    present, meaning = OLD_NAMES[name]
    logging.warning("data.source = %r is an old name, read as %s: %s", name, present, meaning)


def _parse(name: str) -> tuple[SourceKind | None, str]:
    """Splits `KIND` or `KIND:ARGUMENT` into the entry of `SOURCES`, or None, and the argument."""
    prefix, _, argument = present_name(name).partition(":")
    kind = SOURCES.get(prefix)
    if kind is None or bool(argument) != kind.takes_argument:
        return None, argument
    return kind, argument


def _check_classes(source: Source, num_classes: int, fewer_classes: bool) -> None:
    if source.num_classes > num_classes:
        raise DataError(
            f"{source.name} has labels 0 to {source.num_classes - 1}, but model.num_classes = {num_classes}: "
            f"set model.num_classes={source.num_classes}"
        )
    if source.num_classes < num_classes and not fewer_classes:
        raise DataError(
            f"{source.name} has {source.num_classes} classes, but model.num_classes = {num_classes}, and the "
            f"other classes would get no images: give --config.model.num_classes={source.num_classes}"
        )
