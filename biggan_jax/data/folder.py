"""Opens a folder of pictures with one sub-folder for each class; without sub-folders, it is one class.

Before shuffling, the pictures are in the order of the hashes of their paths: a part of the split such as
"train[:90%]" is a random sample of all classes, and the same sample wherever the folder is. Links are
followed, also out of the folder, because sets are often made of links. Hidden files and folders are left out,
and so are files without one of `EXTENSIONS`; the content of a file decides on its format.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from biggan_jax.data.records import MAX_REFUSED, RecordSource, listing
from biggan_jax.data.scan import scan
from biggan_jax.data.source import DataError
from biggan_jax.data.tensorflow_runtime import import_tfds
from biggan_jax.data.tfds_images import unknown_split
from biggan_jax.runtime.text import one_line

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SPLIT = "train"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderSource(RecordSource):
    """The pictures of a folder, decoded when they are read. A record is a relative path and a label.

    Attributes:
      root: The folder.
      file_keys: Hash of each file's content.
      unusable: Reasons why pictures are unusable, by path.
      enlarged: Number of pictures whose shorter side has fewer pixels than the resolution.
    """

    root: Path
    file_keys: list[int] = dataclasses.field(repr=False)
    unusable: dict[str, str] = dataclasses.field(repr=False)
    enlarged: int

    @property
    def refused(self) -> dict[str, str]:
        """Reasons why pictures were left out, by path."""
        return self.unusable

    @property
    def listing_hash(self) -> str:
        """A hash that changes with the paths and labels."""
        return hashlib.sha256(json.dumps(self.records).encode()).hexdigest()

    @functools.cached_property
    def keys(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Hashes of the files' contents, u64[num_examples]; the scan has read the files."""
        return np.array(self.file_keys, np.uint64)

    @property
    def content_hash(self) -> str:
        """A hash of all keys and labels."""
        labels = [label for _, label in self.records]
        return hashlib.sha256(self.keys.tobytes() + json.dumps(labels).encode()).hexdigest()

    def key(self, number: int) -> int:
        """Returns the hash of a picture's file, which the scan has read."""
        return self.file_keys[number]

    def name_of(self, number: int) -> str:
        """Returns the path of a picture, for messages."""
        return printable(self.records[number][0])


def open_split(root: str, split: str, resolution: int, *, max_refused: float = MAX_REFUSED) -> FolderSource:
    """Opens a folder of pictures, after scanning each picture once.

    Args:
      root: Path of the folder.
      split: "train" for all pictures, or a part in the notation of TFDS, such as "train[:90%]".
      resolution: Pixels a side.
      max_refused: Share of the pictures that may be unusable; these are left out with a warning.

    Returns:
      The source.

    Raises:
      DataError: The folder does not exist, it has no pictures or only pictures two folders deep, or too many
        pictures are unusable.
    """
    folder = Path(os.path.expanduser(root))
    pictures = _list_pictures(folder)
    results = scan(folder, [path for path, _ in pictures])
    refused = {path: item.reason for (path, _), item in zip(pictures, results, strict=True) if item.reason}
    _report(folder, len(pictures), refused, max_refused)

    usable = [
        (path, class_name, item)
        for (path, class_name), item in zip(pictures, results, strict=True)
        if not item.reason
    ]
    class_names = tuple(sorted({class_name for _, class_name, _ in usable}))
    for class_name in sorted({class_name for _, class_name in pictures} - set(class_names)):
        logging.warning("%s/%s has no usable picture: it is not a class", folder, class_name)
    usable.sort(key=lambda item: hashlib.sha256(_normal(item[0]).encode(errors="surrogateescape")).digest())
    usable = _part(root, split, usable)
    label_of = {class_name: label for label, class_name in enumerate(class_names)}

    def read(record: tuple[str, int]) -> tuple[bytes, int]:
        path, label = record
        return (folder / path).read_bytes(), label

    left_out = f", {len(refused):,} unusable left out" if refused else ""
    classes = "1 class" if len(class_names) == 1 else f"{len(class_names):,} classes"
    return FolderSource(
        name=f"folder:{printable(root)}",
        description=f"pictures of {classes} in {printable(str(folder))}{left_out}; {split}: {len(usable):,}",
        num_examples=len(usable),
        class_names=class_names,
        resolution=resolution,
        records=[(path, label_of[class_name]) for path, class_name, _ in usable],
        file_keys=[item.key for *_, item in usable],
        parse=read,
        max_refused=max_refused,
        root=folder,
        unusable={printable(path): reason for path, reason in refused.items()},
        enlarged=sum(item.side < resolution for *_, item in usable),
    )


def open_splits(root: str, resolution: int, max_refused: float) -> dict[str, RecordSource]:
    """Opens a folder's only split, as `open_split` does.

    Args:
      root: Path of the folder.
      resolution: Pixels a side.
      max_refused: Share of the pictures that may be unusable.

    Returns:
      The source by split.
    """
    return {SPLIT: open_split(root, SPLIT, resolution, max_refused=max_refused)}


def printable(name: str) -> str:
    """Returns the name of a file on one line of printable text, whatever bytes it contains.

    A line break in the name of a class would break lists of classes, which have one on each line.
    """
    return one_line(_normal(os.fsencode(name).decode(errors="replace")))


def _normal(name: str) -> str:
    # macOS stores "é" as two characters, and Linux as one. A copied folder must have the same classes in the
    # same order.
    return unicodedata.normalize("NFC", name)


def _list_pictures(folder: Path) -> list[tuple[str, str]]:
    """Returns the relative path and the class name of each picture, sorted."""
    inside, folders = _entries(folder)
    if inside and folders:
        with_pictures = [name for name in folders if _entries(folder / name)[0]]
        if with_pictures:
            raise DataError(
                f"folder:{folder} has pictures beside sub-folders with pictures ({inside[0]} beside "
                f"{with_pictures[0]}/): put each picture into the sub-folder of its class"
            )
    if inside:
        return sorted((name, printable(folder.absolute().name)) for name in inside)

    pictures, empty = [], []
    _refuse_equal_names(folder, folders)
    for name in folders:
        names, deeper = _entries(folder / name)
        for further in deeper:
            if _entries(folder / name / further)[0]:
                raise DataError(
                    f"folder:{folder} has pictures two folders deep, in {name}/{further}: give "
                    f"folder:{folder / name} if its sub-folders are the classes, else put the pictures of a "
                    "class into one folder"
                )
        pictures += [(f"{name}/{file}", printable(name)) for file in names]
        if not names:
            empty.append(printable(name))
    if empty:
        logging.warning(
            "%s: the sub-folders %s have no pictures: they are not classes", folder, _some(sorted(empty))
        )
    if not pictures:
        raise DataError(
            f"folder:{folder} has no pictures (files that end in {', '.join(EXTENSIONS)}) in it or in its "
            "sub-folders: give the folder that holds them, with one sub-folder for each class"
        )
    return sorted(pictures)


def _refuse_equal_names(folder: Path, folders: Sequence[str]) -> None:
    """Refuses sub-folders whose names differ in bytes alone: they would silently become one class."""
    first: dict[str, str] = {}
    for name in folders:
        other = first.setdefault(printable(name), name)
        if other != name:
            raise DataError(
                f"folder:{printable(str(folder))}: the sub-folders {os.fsencode(other)!r} and "
                f"{os.fsencode(name)!r} are both the class {printable(name)!r}: rename one"
            )


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the names of the pictures and of the folders in a folder."""
    pictures, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                if _is_folder(entry):
                    folders.append(entry.name)
                elif entry.name.lower().endswith(EXTENSIONS):
                    pictures.append(entry.name)
    except OSError as error:
        raise DataError(
            f"folder:{folder} cannot be read ({error.strerror}): give a folder of pictures"
        ) from error
    return sorted(pictures), sorted(folders)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _report(folder: Path, count: int, refused: dict[str, str], max_refused: float) -> None:
    if not refused:
        return
    lines = listing((printable(path), reason) for path, reason in sorted(refused.items()))
    if len(refused) == count or len(refused) > max(1, max_refused * count):
        raise DataError(
            f"folder:{folder}: {len(refused):,} of {count:,} pictures are unusable, which is "
            f"more than {max_refused:.2%}; repair or remove them:{lines}"
        )
    logging.warning("%s: %d of %d pictures are unusable and left out:%s", folder, len(refused), count, lines)


def _part(root: str, split: str, pictures: list) -> list:
    """Returns the pictures of a part of the split, such as "train[:90%]"."""
    if split == SPLIT:
        return pictures
    tfds = import_tfds()
    files = tfds.core.ShardedFileTemplate(  # no such files exist, but TFDS needs a template to compute parts
        data_dir=Path(), dataset_name="folder", split=SPLIT, filetype_suffix="array_record"
    )
    whole = tfds.core.SplitInfo(
        name=SPLIT, shard_lengths=[len(pictures)], num_bytes=0, filename_template=files
    )
    splits = tfds.core.splits.SplitDict([whole])
    try:
        parts = splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise unknown_split(f"folder:{root}", split, splits) from error
    if not parts:
        raise DataError(f"folder:{root} has no pictures in {split!r}: choose another data.split")
    return [picture for part in parts for picture in pictures[part.skip : part.skip + part.take]]


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
