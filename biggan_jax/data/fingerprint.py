"""The fingerprint of a run's images, which its checkpoints carry, and its comparison with other images.

A run must go on with the images it began with, and a report must compare samples with the images that the
generator has learnt from. Images that were only added to known classes are no other set: to tell, the
fingerprint holds the smallest of the images' hashes, which are a random sample of the images.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from biggan_jax.data.catalogue import without_directories
from biggan_jax.data.source import DataError, Source
from biggan_jax.runtime.json_digest import json_digest

SAMPLED = 64  # images: of a set that lost 5 % of them, one is missing with a chance of 96 %
MOST_NAMED = 3
FLAG = "--config.data.allow_changes"
FINGERPRINT = "fingerprint"  # its key in the provenance of an export
FORMAT = 1  # a fingerprint of another format is not compared


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What identifies the images of a run.

    Attributes:
      source: Name of the source without directories: a copy of a folder is the same set.
      split: Split of the source.
      class_names: Name of each class, by label.
      images: Number of images.
      content: Hash of the images and their labels, in order.
      sample: The smallest hashes of images; empty if reading all images would take long.
      sha256: Hash of all of these, which changes with any of them.
    """

    source: str
    split: str
    class_names: tuple[str, ...]
    images: int
    content: str
    sample: tuple[int, ...]
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Returns the fingerprint as JSON holds it."""
        return {"format": FORMAT} | dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Fingerprint | None":
        """Returns a saved fingerprint; None if there is none, a damaged one, or one of another format."""
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            return None
        try:
            source, split, content, sha256 = (
                str(value[name]) for name in ("source", "split", "content", "sha256")
            )
            class_names = tuple(str(name) for name in value["class_names"])
            sample = tuple(int(key) for key in value["sample"])
            images = int(value["images"])
        except (KeyError, TypeError, ValueError):
            return None
        if not all(0 <= key < 2**64 for key in sample):
            return None
        return cls(source, split, class_names, images, content, sample, sha256)


def fingerprint(source: Source, split: str) -> Fingerprint:
    """Computes the fingerprint of a source.

    Args:
      source: The source.
      split: Split that it was opened with.
    """
    keys = source.keys
    sample = () if keys is None else tuple(np.sort(keys)[:SAMPLED].tolist())
    name = without_directories(source.name).encode(errors="replace").decode()  # a path may be no text
    about = (name, split, source.class_names, source.num_examples, source.content_hash, sample)
    return Fingerprint(*about, json_digest(about))


class Changes(NamedTuple):
    """The differences between the images of a run and others.

    Attributes:
      refused: Differences that make them another set.
      harmless: Differences with which a run may go on.
    """

    refused: list[str]
    harmless: list[str]


def compare(saved: Fingerprint, source: Source, split: str) -> Changes:
    """Compares the images that a checkpoint has learnt from with a source.

    Args:
      saved: Fingerprint of the checkpoint.
      source: The images now.
      split: Their split.
    """
    now = fingerprint(source, split)
    if now.sha256 == saved.sha256:
        return Changes([], [])
    names = list(class_changes(saved.class_names, now.class_names))
    before, after = f"{saved.source}, {saved.split}", f"{now.source}, {now.split}"
    if now.content == saved.content and now.images == saved.images:
        return Changes(names, [] if names else [f"the same images under another name: {before} → {after}"])
    counts = f"{saved.images:,} images → {now.images:,}"
    if now.images < saved.images:
        return Changes([*names, f"fewer images: {counts}{_renamed(before, after)}"], [])
    missing = _missing(saved, source)
    if missing is None:  # without a sample, only the name tells that a larger set contains the smaller one
        same = before == after and now.images > saved.images
        missing = "" if same else f"another set, by its content{_renamed(before, after)}"
    elif missing:
        missing += (" any more, and may be held out" if "[" in split else "") + _renamed(before, after)
    elif now.images == saved.images:
        missing = "as many images, but some are others or in another place"
    if missing or names:
        return Changes([*names, *([missing] if missing else [])], [])
    part = ", which may include images held out until now" if "[" in split else ""
    more = now.images - saved.images
    more_images = "1 more image" if more == 1 else f"{more:,} more images"
    return Changes([], [f"{more_images} in the known classes ({counts}){part}"])


def refuse_changes(
    saved: Fingerprint | Sequence[str], source: Source, split: str, *, owner: str, allowed: bool
) -> list[str]:
    """Refuses images other than those that a checkpoint has learnt from, unless that is allowed.

    Args:
      saved: Fingerprint of the checkpoint. An older version recorded at most the names of the classes.
      source: The images now.
      split: Their split.
      owner: Name of the checkpoint or export, for messages.
      allowed: Whether other images are allowed.

    Returns:
      Lines for the user: harmless changes, allowed changes, and that an older version's images are unknown.

    Raises:
      DataError: The images are others, and `allowed` is False.
    """
    unknown = []
    if isinstance(saved, Fingerprint):
        changes = compare(saved, source, split)
    else:
        names = source.class_names
        changes = Changes(list(class_changes(saved[: len(names)], names)) if saved else [], [])
        compared = "only the names of its classes were compared" if saved else "nothing was compared"
        unknown = [f"images: {owner} is of an older version and has no fingerprint of its images: {compared}"]
    if changes.refused and not allowed:
        raise DataError(
            f"{owner} has learnt from other images than {source.name}, {split} (then → now):\n"
            + "".join(f"  {change}\n" for change in changes.refused)
            + f"set data.source and data.split back, or give {FLAG} to go on with these images"
        )
    return unknown + [f"images: {change}" for change in changes.refused + changes.harmless]


def class_changes(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Yields what has changed in the names of classes or their order."""
    if tuple(before) == tuple(after):
        return
    if sorted(before) == sorted(after):
        label = next(label for label, name in enumerate(before) if after[label] != name)
        yield f"the classes are in another order: label {label} was {before[label]!r}, is {after[label]!r}"
        return
    if len(before) != len(after):
        yield f"{len(before):,} classes → {len(after):,}"
    gone, new = ([name for name in one if name not in other] for one, other in _both(before, after))
    yield f"other classes: {_listed(gone)} → {_listed(new)}"


def moved_classes(before: Sequence[str], after: Sequence[str]) -> str:
    """Returns the first class that two sets know by name under different labels, as a text, or ""."""
    labels = {name: label for label, name in enumerate(before)}
    for label, name in enumerate(after):
        if labels.get(name, label) != label:
            return f"{name!r} has label {labels[name]} there and label {label} here"
    return ""


def _missing(saved: Fingerprint, source: Source) -> str | None:
    """Returns a text if sampled images are missing, "" if none is, None if there is no sample."""
    if not saved.sample or source.keys is None:
        return None
    missing = len(saved.sample) - shared(saved, source)
    return missing and f"another set: {missing} of {len(saved.sample)} sampled images are not in it" or ""


def shared(saved: Fingerprint, source: Source) -> int:
    """Returns how many of the sampled images of a fingerprint a source contains."""
    if source.keys is None:
        return 0
    return int(np.isin(np.array(saved.sample, np.uint64), source.keys).sum())


def _renamed(before: str, after: str) -> str:
    return "" if before == after else f" ({before} → {after})"


def _both(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[Sequence[str], set[str]]]:
    yield before, set(after)
    yield after, set(before)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return (", ".join(map(repr, names[:MOST_NAMED])) + more) or "none"
