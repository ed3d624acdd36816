"""Sources whose examples are encoded pictures in files, read by number and decoded in tf.data."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from biggan_jax.data.decode import decode_square
from biggan_jax.data.reading import Reader
from biggan_jax.data.source import ArraySource, Source
from biggan_jax.data.tensorflow_runtime import import_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf

READ_AT_ONCE = 256


class Records(Protocol):
    """Serialized examples that can be read many at a time, in any order."""

    def __getitems__(self, numbers: Sequence[int]) -> Sequence[bytes]: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordSource(Source):
    """A source whose examples are read from files when they are needed.

    Attributes:
      records: where they are read.
      parse: turns a record, a string tensor, into the encoded picture and the label, in a TensorFlow graph.
    """

    records: Records = dataclasses.field(repr=False)
    parse: Callable[["tf.Tensor"], tuple["tf.Tensor", "tf.Tensor"]] = dataclasses.field(repr=False)

    @property
    def threads(self) -> int:
        return os.cpu_count() or 1

    def lookup(self, indices: "tf.data.Dataset") -> "tf.data.Dataset":
        (rows,) = indices.element_spec.shape
        return self._examples(indices).batch(rows, drop_remainder=True)

    def in_memory(self) -> ArraySource:
        """The same source with all its examples read and decoded."""
        tf = import_tensorflow()
        numbers = tf.data.Dataset.range(self.num_examples).batch(READ_AT_ONCE)
        description = {field.name: getattr(self, field.name) for field in dataclasses.fields(Source)}
        return collect(numbers, self._examples, description)

    def _examples(self, numbers: "tf.data.Dataset") -> "tf.data.Dataset":
        tf = import_tensorflow()

        def read_records(numbers: np.ndarray) -> np.ndarray:
            return np.array(self.records.__getitems__(numbers.tolist()), object)

        def serialized(numbers: "tf.Tensor") -> "tf.Tensor":
            return tf.ensure_shape(tf.numpy_function(read_records, [numbers], tf.string), [None])

        def decode(record: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
            return decode_example(*self.parse(record), self.resolution, self.num_classes)

        return numbers.map(serialized).prefetch(1).unbatch().map(decode, num_parallel_calls=self.threads)


def decode_example(
    encoded: "tf.Tensor", label: "tf.Tensor", resolution: int, num_classes: int
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """An encoded picture and its label to (u8[resolution, resolution, 3], i32), in a TensorFlow graph."""
    tf = import_tensorflow()
    label = tf.cast(label, tf.int32)
    tf.debugging.Assert((label >= 0) & (label < num_classes), ["label", label])
    return decode_square(encoded, resolution), label


def collect(
    begin: "tf.data.Dataset",
    examples: "Callable[[tf.data.Dataset], tf.data.Dataset]",
    description: Mapping[str, Any],
) -> ArraySource:
    """Gathers examples, in their order, into memory.

    Args:
      begin: the data set that `examples` is to be called with.
      examples: makes one of single (image, label), as `decode_example` gives them.
      description: the fields of `Source`.
    """
    shape = (description["num_examples"], description["resolution"], description["resolution"], 3)
    images, labels = np.empty(shape, np.uint8), np.empty(shape[0], np.int32)
    row = 0
    reader = Reader(begin, lambda begin: examples(begin).batch(READ_AT_ONCE), description["name"])
    for some_images, some_labels in reader:
        rows = slice(row, row := row + len(some_images))
        images[rows], labels[rows] = some_images, some_labels
    return ArraySource(**description, images=images, labels=labels)
