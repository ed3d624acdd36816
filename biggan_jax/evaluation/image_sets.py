"""Sets of indexed images, which are generated or read in batches when they are needed.

No set is held in memory: 50,000 images of 256 px would take 9 GiB.
"""

import abc
import concurrent.futures
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np

from biggan_jax.data import ArraySource, Source, order
from biggan_jax.data.records import RecordSource
from biggan_jax.data.source import IN_MEMORY_BYTES
from biggan_jax.runtime import processes
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sampler import Sampler

ORDER_SEED = 0  # of the subset of a large source: the same for all runs, so that scores compare
READ_AT_ONCE = 16
NEARBY = 16


class ImageBatch(NamedTuple):
    """Consecutive images of a set.

    Attributes:
      start: Index of the first image.
      images: u8[n, H, W, 3].
      labels: i32[n], or None if the set has no labels.
    """

    start: int
    images: np.ndarray
    labels: np.ndarray | None


class ImageSet(abc.ABC):
    """Images with the indices 0 … count - 1.

    Attributes:
      count: Number of images.
      resolution: Pixels a side.
      labelled: Whether the images have labels.
      labels: i32[count] if the labels are known before the images are read, else None.
    """

    count: int
    resolution: int
    labelled: bool = True
    labels: np.ndarray | None = None

    @abc.abstractmethod
    def batches(self, numbers: range, size: int) -> Iterator[ImageBatch]:
        """Yields the images with these indices in order, in batches of at most `size`."""

    def at(self, numbers: Sequence[int]) -> np.ndarray:
        """Returns the images with these indices, at least one, in their order: u8[len(numbers), H, W, 3]."""
        wanted = sorted(set(numbers))
        images: dict[int, np.ndarray] = {}
        # A sampler generates whole batches anyway: images with close indices come from one.
        gaps = [place for place in range(1, len(wanted)) if wanted[place] - wanted[place - 1] > NEARBY]
        for first, last in zip([0, *gaps], [*gaps, len(wanted)], strict=True):
            span = range(wanted[first], wanted[last - 1] + 1)
            for part in self.batches(span, len(span)):
                images |= {number: part.images[number - part.start] for number in wanted[first:last]}
        return np.stack([images[number] for number in numbers])


class GeneratedImages(ImageSet):
    """Samples, which are generated each time they are read. Sample i has the label i modulo `classes`.

    Args:
      sampler: Sampler of the generator.
      count: Number of samples.
      classes: Number of classes, which get equal numbers of samples up to one.
      seed: Seed of the latents.
      truncation: Truncation of the latents; None takes the sampler's default.
    """

    def __init__(
        self, sampler: Sampler, count: int, classes: int, seed: int, truncation: float | None = None
    ):
        self.count, self.resolution = count, sampler.resolution
        self._sampler, self._seed, self._truncation = sampler, seed, truncation
        self.labels = self._labels = np.arange(count, dtype=np.int32) % classes

    def batches(self, numbers: range, size: int) -> Iterator[ImageBatch]:
        """Generates the images with these indices; see `ImageSet.batches`."""
        for part in _parts(numbers, size):
            labels = self._labels[part.start : part.stop]
            images = self._sampler.sample(labels, self._truncation, self._seed, part.start)
            yield ImageBatch(part.start, images, labels)


class ImagesInMemory(ImageSet):
    """Images u8[N, H, H, 3] in memory, with labels i32[N] or None."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None):
        self.count, self.resolution = images.shape[:2]
        self.labelled = labels is not None
        self._images, self.labels = images, labels

    def batches(self, numbers: range, size: int) -> Iterator[ImageBatch]:
        """Yields slices of the arrays; see `ImageSet.batches`."""
        for part in _parts(numbers, size):
            rows = slice(part.start, part.stop)
            labels = None if self.labels is None else self.labels[rows]
            yield ImageBatch(part.start, self._images[rows], labels)


class RealImages(ImageSet):
    """Images of a data source, or a random subset of fixed seed.

    Args:
      source: Data source.
      most: Largest number of images; 0 takes all.
    """

    def __init__(self, source: Source, most: int = 0):
        self.source, self.resolution = source, source.resolution
        self.count = min(source.num_examples, most or source.num_examples)
        chosen = order.examples(ORDER_SEED, np.arange(self.count), source.num_examples)
        self._examples = np.sort(chosen)  # files are read in order

    def batches(self, numbers: range, size: int) -> Iterator[ImageBatch]:
        """Reads the images with these indices, the next batch ahead; see `ImageSet.batches`."""
        parts = _parts(numbers, size)
        if isinstance(self.source, ArraySource):
            for part in parts:
                rows = self._examples[part.start : part.stop]
                yield ImageBatch(part.start, self.source.images[rows], self.source.labels[rows])
            return
        with concurrent.futures.ThreadPoolExecutor(self.source.threads) as pool:
            waiting = [self._submit(pool, part) for part in parts[:2]]  # one is read while another is used
            for index, part in enumerate(parts):
                images, labels = zip(*(piece.result() for piece in waiting.pop(0)), strict=True)
                if index + 2 < len(parts):
                    waiting.append(self._submit(pool, parts[index + 2]))
                yield ImageBatch(part.start, np.concatenate(images), np.concatenate(labels))

    def _submit(
        self, pool: concurrent.futures.Executor, part: range
    ) -> list[concurrent.futures.Future[tuple[np.ndarray, np.ndarray]]]:
        rows = self._examples[part.start : part.stop]
        pieces = np.split(rows, range(READ_AT_ONCE, len(rows), READ_AT_ONCE))
        source = cast(RecordSource, self.source)
        return [pool.submit(source.examples, piece) for piece in pieces]


def load_images(images: ImageSet) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns all images u8[N, H, W, 3] of a set and their labels i32[N] or None, in this process alone.

    Raises:
      UserError: The images take more than a gibibyte.
    """
    refuse_too_many(images)
    (whole,) = images.batches(range(images.count), images.count)
    return whole.images, whole.labels


def gather_images(images: ImageSet) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns what `load_images` returns, in every process; each process generates or reads its share."""
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
    """Raises UserError if the images of a set take more than a gibibyte."""
    most = most_in_memory(images.resolution)
    if images.count > most:
        raise UserError(
            f"{images.count:,} images of {images.resolution} px do not fit in memory at once: take at most "
            f"{most:,}"
        )


def most_in_memory(resolution: int) -> int:
    """Returns the largest number of images of this size that take at most a gibibyte."""
    return max(1, IN_MEMORY_BYTES // (3 * resolution**2))


def _parts(numbers: range, size: int) -> list[range]:
    return [
        range(start, min(start + size, numbers.stop)) for start in range(numbers.start, numbers.stop, size)
    ]
