"""Sets of images as the judge takes them: numbered, and drawn or read in parts when they are looked at.

Nobody keeps them: 50,000 images of 256 px would take 9 GiB.
"""

import abc
import concurrent.futures
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from biggan_jax.data import ArraySource, Source, order
from biggan_jax.data.source import IN_MEMORY_BYTES
from biggan_jax.runtime import processes
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sampler import Sampler

ORDER_SEED = 0  # of the part of a large source that is looked at: the same for all runs, so scores compare
READ_AT_ONCE = 16
NEARBY = 16


class ImageBatch(NamedTuple):
    """Some images of a set.

    Attributes:
      start: number of the first.
      images: u8[n, H, W, 3].
      labels: i32[n], or None where the set has none.
    """

    start: int
    images: np.ndarray
    labels: np.ndarray | None


class ImageSet(abc.ABC):
    """Images with the numbers 0 … count - 1.

    Attributes:
      count: how many.
      resolution: pixels a side.
      labelled: whether they have labels…
      labels: …i32[count], where they are known before an image is read.
    """

    count: int
    resolution: int
    labelled: bool = True
    labels: np.ndarray | None = None

    @abc.abstractmethod
    def batches(self, numbers: range, size: int) -> Iterator[ImageBatch]:
        """The images of these numbers, in order, at most `size` at once."""

    def at(self, numbers: Sequence[int]) -> np.ndarray:
        """The images of these numbers, in any order, at least one: u8[len(numbers), H, W, 3]."""
        wanted = sorted(set(numbers))
        found: dict[int, np.ndarray] = {}
        # A sampler draws whole batches anyway: what lies close together comes of one.
        gaps = [place for place in range(1, len(wanted)) if wanted[place] - wanted[place - 1] > NEARBY]
        for first, last in zip([0, *gaps], [*gaps, len(wanted)], strict=True):
            span = range(wanted[first], wanted[last - 1] + 1)
            for part in self.batches(span, len(span)):
                found |= {number: part.images[number - part.start] for number in wanted[first:last]}
        return np.stack([found[number] for number in numbers])


class GeneratedImages(ImageSet):
    """Samples, drawn anew whenever they are asked for: sample i is of label i modulo `classes`.

    Args:
      sampler: draws them.
      count: how many.
      classes: all get as many, or one more.
      seed: of the sequence of latents.
      truncation: of the latents; None for the sampler's own.
    """

    def __init__(
        self, sampler: Sampler, count: int, classes: int, seed: int, truncation: float | None = None
    ):
        self.count, self.resolution = count, sampler.resolution
        self._sampler, self._seed, self._truncation = sampler, seed, truncation
        self.labels = np.arange(count, dtype=np.int32) % classes

    def batches(self, numbers: range, size: int) -> Iterator[ImageBatch]:
        for part in _parts(numbers, size):
            labels = self.labels[part.start : part.stop]
            images = self._sampler.sample(labels, self._truncation, self._seed, part.start)
            yield ImageBatch(part.start, images, labels)


class ImagesInMemory(ImageSet):
    """Images that are in memory, such as those of a file: u8[N, H, H, 3] and labels i32[N] or None."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None):
        self.count, self.resolution = images.shape[:2]
        self.labelled = labels is not None
        self._images, self.labels = images, labels

    def batches(self, numbers: range, size: int) -> Iterator[ImageBatch]:
        for part in _parts(numbers, size):
            rows = slice(part.start, part.stop)
            yield ImageBatch(part.start, self._images[rows], self.labels[rows] if self.labelled else None)


class RealImages(ImageSet):
    """Images of a source, or a random part of them that is always the same.

    Args:
      source: where they come from.
      most: how many, at most; 0 for all.
    """

    def __init__(self, source: Source, most: int = 0):
        self.source, self.resolution = source, source.resolution
        self.count = min(source.num_examples, most or source.num_examples)
        chosen = order.examples(ORDER_SEED, np.arange(self.count), source.num_examples)
        self._examples = np.sort(chosen)  # files are read from their beginning to their end

    def batches(self, numbers: range, size: int) -> Iterator[ImageBatch]:
        parts = _parts(numbers, size)
        if isinstance(self.source, ArraySource):
            for part in parts:
                rows = self._examples[part.start : part.stop]
                yield ImageBatch(part.start, self.source.images[rows], self.source.labels[rows])
            return
        with concurrent.futures.ThreadPoolExecutor(self.source.threads) as pool:
            waiting = [self._ask(pool, part) for part in parts[:2]]  # one is read while another is looked at
            for index, part in enumerate(parts):
                images, labels = zip(*(piece.result() for piece in waiting.pop(0)), strict=True)
                if index + 2 < len(parts):
                    waiting.append(self._ask(pool, parts[index + 2]))
                yield ImageBatch(part.start, np.concatenate(images), np.concatenate(labels))

    def _ask(
        self, pool: concurrent.futures.Executor, part: range
    ) -> list[concurrent.futures.Future[tuple[np.ndarray, np.ndarray]]]:
        rows = self._examples[part.start : part.stop]
        pieces = np.split(rows, range(READ_AT_ONCE, len(rows), READ_AT_ONCE))
        return [pool.submit(self.source.examples, piece) for piece in pieces]


def load_images(images: ImageSet) -> tuple[np.ndarray, np.ndarray | None]:
    """All images u8[N, H, W, 3] of a set and its labels i32[N] or None, in the process that asks.

    Raises:
      UserError: they take more than a gibibyte.
    """
    refuse_too_many(images)
    (whole,) = images.batches(range(images.count), images.count)
    return whole.images, whole.labels


def gather_images(images: ImageSet) -> tuple[np.ndarray, np.ndarray | None]:
    """As `load_images`, but each process draws or reads its share, and all get the whole."""
    refuse_too_many(images)
    parts = list(images.batches(processes.share(images.count), images.count))
    size = (images.resolution, images.resolution, 3)
    pixels = [np.zeros((0, *size), np.uint8), *(part.images for part in parts)]
    labels = None
    if images.labelled:
        labels = [np.zeros(0, np.int32), *(part.labels for part in parts)]
        labels = processes.gather(np.concatenate(labels), images.count)
    return processes.gather(np.concatenate(pixels), images.count), labels


def refuse_too_many(images: ImageSet) -> None:
    """Raises UserError if the images take more than a gibibyte."""
    most = most_in_memory(images.resolution)
    if images.count > most:
        raise UserError(
            f"{images.count:,} images of {images.resolution} px are too many to hold in memory at once: "
            f"take {most:,} at most"
        )


def most_in_memory(resolution: int) -> int:
    """How many images of so many pixels a side take no more than a gibibyte."""
    return max(1, IN_MEMORY_BYTES // (3 * resolution**2))


def _parts(numbers: range, size: int) -> list[range]:
    return [
        range(start, min(start + size, numbers.stop)) for start in range(numbers.start, numbers.stop, size)
    ]
