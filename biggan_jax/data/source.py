"""Defines a source of labelled images: a numbered collection that can be read in any order."""

import abc
import dataclasses
import functools
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from biggan_jax.data.tensorflow_runtime import import_tensorflow
from biggan_jax.runtime.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf


class DataError(UserError):
    """A data set that is unknown, missing, broken or contradicts the config; the message says what to do."""


IN_MEMORY_BYTES = 2**30  # of decoded images: enough for CIFAR-10, too little for ImageNet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source(abc.ABC):
    """Square RGB images of one size with class labels, numbered 0 … num_examples - 1.

    Attributes:
      name: Name, as in the config's `data.source`.
      description: Kind and number of the images, for the user.
      num_examples: Number of images in this split.
      class_names: Name of each class, by label.
      resolution: Pixels a side.
    """

    name: str
    description: str
    num_examples: int
    class_names: tuple[str, ...]
    resolution: int

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def threads(self) -> int:
        """Number of CPU threads that reading can use."""
        return 1

    @property
    def num_bytes(self) -> int:
        """Bytes that all images take in memory."""
        return self.num_examples * self.resolution**2 * 3

    @property
    def failure(self) -> str | None:
        """Message of the `DataError` that ended reading, or None."""
        return None

    @property
    def keys(self) -> np.ndarray | None:
        """Hashes of the images, u64[num_examples]; None if reading all of them would take long."""
        return None

    @property
    @abc.abstractmethod
    def content_hash(self) -> str:
        """A hash that changes with the images, their labels or their order, as far as `keys` are known."""

    @abc.abstractmethod
    def in_memory(self) -> "ArraySource":
        """Returns the same source with all images in memory."""

    @abc.abstractmethod
    def lookup(self, indices: "tf.data.Dataset") -> "tf.data.Dataset":
        """Reads examples by number.

        Args:
          indices: Data set of i64[n], the numbers of examples; all elements have the same n.

        Returns:
          A data set of (images, labels) in the same order: u8[n, resolution, resolution, 3] and i32[n].
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArraySource(Source):
    """A source whose images are in memory.

    Attributes:
      images: u8[num_examples, resolution, resolution, 3].
      labels: i32[num_examples].
      stored_keys: Hashes of the files that the images were decoded from, as in `Source.keys`. Decoders round
        differently, so pixels identify only images that nothing has decoded.
    """

    images: np.ndarray = dataclasses.field(repr=False)
    labels: np.ndarray = dataclasses.field(repr=False)
    stored_keys: np.ndarray | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self):
        expected = (self.num_examples, self.resolution, self.resolution, 3)
        if self.images.shape != expected or self.images.dtype != np.uint8:
            raise ValueError(f"images are {self.images.dtype}{self.images.shape}, must be uint8{expected}")
        if self.labels.shape != expected[:1] or self.labels.dtype != np.int32:
            raise ValueError(
                f"labels are {self.labels.dtype}{self.labels.shape}, must be int32{expected[:1]}"
            )
        if self.num_examples and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            raise DataError(
                f"{self.name} has labels from {self.labels.min()} to {self.labels.max()}, but its "
                f"{self.num_classes} classes are numbered 0 to {self.num_classes - 1}: choose a split that "
                "has labels"
            )

    @functools.cached_property
    def keys(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Hashes of the images' files, or of their pixels, u64[num_examples]."""
        if self.stored_keys is not None:
            return self.stored_keys
        return np.array([key_of(image.tobytes()) for image in self.images], np.uint64)

    @property
    def content_hash(self) -> str:
        """A hash of all keys and labels."""
        return hashlib.sha256(self.keys.tobytes() + self.labels.tobytes()).hexdigest()

    def in_memory(self) -> "ArraySource":
        """Returns this source."""
        return self

    def lookup(self, indices: "tf.data.Dataset") -> "tf.data.Dataset":
        """Gathers examples, as `Source.lookup` describes."""
        tf = import_tensorflow()
        images, labels = tf.constant(self.images), tf.constant(self.labels)
        return indices.map(lambda rows: (tf.gather(images, rows), tf.gather(labels, rows)))


def key_of(content: bytes) -> int:
    """Returns a hash of an image's content, of 64 bits."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def arrays(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Reads all images and labels of a source, in its order.

    Args:
      source: The source.

    Returns:
      Images u8[N, H, W, 3] and labels i32[N].

    Raises:
      DataError: The source is too large for memory.
    """
    if not isinstance(source, ArraySource) and source.num_bytes > IN_MEMORY_BYTES:
        raise DataError(
            f"{source.name} has {source.num_examples:,} images of {source.resolution} px, too many to "
            "hold in memory at once: take a part of it, such as data.split='train[:10000]'"
        )
    source = source.in_memory()
    return source.images, source.labels
