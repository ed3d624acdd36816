"""What a source of labelled images is: a numbered collection that can be looked up in any order."""

import abc
import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from biggan_jax.data.tensorflow_runtime import import_tensorflow
from biggan_jax.runtime.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf


class DataError(UserError):
    """A data set that is unknown, missing, broken or at odds with the config; the message has the remedy."""


IN_MEMORY_BYTES = 2**30  # of decoded images; CIFAR-10 and its like need far less, ImageNet more


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source(abc.ABC):
    """Square RGB images of one size with class labels, numbered 0 … num_examples - 1.

    Attributes:
      name: as in the config's `data.source`.
      description: for the person who trains: which images these are and how many.
      num_examples: images in this split.
      class_names: one for each label.
      resolution: pixels a side.
    """

    name: str
    description: str
    num_examples: int
    class_names: tuple[str, ...]
    resolution: int

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def threads(self) -> int:
        """CPU threads that looking examples up can keep busy."""
        return 1

    @property
    def num_bytes(self) -> int:
        """What all images take in memory."""
        return self.num_examples * self.resolution**2 * 3

    @property
    def failure(self) -> str | None:
        """Why examples could not be looked up, once that has happened: the message of a `DataError`."""
        return None

    @abc.abstractmethod
    def in_memory(self) -> "ArraySource":
        """The same source with all its images in memory."""

    @abc.abstractmethod
    def lookup(self, indices: "tf.data.Dataset") -> "tf.data.Dataset":
        """Turns a data set of i64[n], numbers of examples, into one of (images, labels) in the same order.

        images: u8[n, resolution, resolution, 3]; labels: i32[n]. All elements have the same n.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArraySource(Source):
    """A source whose images are in memory.

    Attributes:
      images: u8[num_examples, resolution, resolution, 3].
      labels: i32[num_examples].
    """

    images: np.ndarray = dataclasses.field(repr=False)
    labels: np.ndarray = dataclasses.field(repr=False)

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

    def in_memory(self) -> "ArraySource":
        return self

    def lookup(self, indices: "tf.data.Dataset") -> "tf.data.Dataset":
        tf = import_tensorflow()
        images, labels = tf.constant(self.images), tf.constant(self.labels)
        return indices.map(lambda rows: (tf.gather(images, rows), tf.gather(labels, rows)))


def arrays(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """All images u8[N, H, W, 3] and labels i32[N] of a source, in its order.

    Raises:
      DataError: the source is too large for memory.
    """
    if not isinstance(source, ArraySource) and source.num_bytes > IN_MEMORY_BYTES:
        raise DataError(
            f"{source.name} has {source.num_examples:,} images of {source.resolution} px, too many to "
            "hold in memory at once: take a part of it, such as data.split='train[:10000]'"
        )
    source = source.in_memory()
    return source.images, source.labels
