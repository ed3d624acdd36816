"""Sources whose pictures are in files, read by number and decoded when they are needed."""

import concurrent.futures
import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from biggan_jax.data.decode import UnusablePicture, decode_square
from biggan_jax.data.source import ArraySource, DataError, Source
from biggan_jax.data.tensorflow_runtime import import_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf

MAX_REFUSED = 0.01  # share of a set's pictures that may be unusable; a single one always may
SHOWN = 10
MOST_AT_ONCE = 16


class Records(Protocol):
    """Stored examples, by number; several threads read at once."""

    def __getitem__(self, number: int, /) -> Any: ...


class Refusals:
    """The pictures that turned out unusable while they were read: number → reason."""

    def __init__(self):
        self.reasons: dict[int, str] = {}
        self.failure: str | None = None
        self._lock = threading.Lock()

    def add(self, number: int, reason: str) -> bool:
        """Notes the picture's reason; whether this is news."""
        with self._lock:
            news = number not in self.reasons
            self.reasons[number] = reason
            return news


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordSource(Source):
    """A source whose examples are read from files when they are needed.

    A picture that cannot be read or decoded, such as a file that was deleted since the source was opened,
    does not end a run: the next usable one in the source's numbering stands in for it, wherever and whenever
    it comes up, and a warning names it once. Once more than `max_refused` of the pictures are like that, the
    run ends with a `DataError`.

    Attributes:
      records: where examples are read.
      parse: turns a record into the encoded picture and its label; if it raises OSError or UnusablePicture,
        the picture is unusable.
      decode: turns an encoded picture and the resolution into u8[resolution, resolution, 3].
      max_refused: share of the pictures that may prove unusable.
    """

    records: Records = dataclasses.field(repr=False)
    parse: Callable[[Any], tuple[bytes, int]] = dataclasses.field(repr=False)
    decode: Callable[[bytes, int], np.ndarray] = dataclasses.field(default=decode_square, repr=False)
    max_refused: float = MAX_REFUSED
    _refusals: Refusals = dataclasses.field(default_factory=Refusals, repr=False, compare=False)

    @property
    def threads(self) -> int:
        return os.cpu_count() or 1

    @property
    def failure(self) -> str | None:
        return self._refusals.failure

    def lookup(self, indices: "tf.data.Dataset") -> "tf.data.Dataset":
        tf = import_tensorflow()
        (rows,) = indices.element_spec.shape
        together = next(count for count in range(min(rows, MOST_AT_ONCE), 0, -1) if rows % count == 0)
        shape = [self.resolution, self.resolution, 3]

        def read(numbers: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
            images, labels = tf.numpy_function(self._examples, [numbers], (tf.uint8, tf.int32))
            return tf.ensure_shape(images, [together, *shape]), tf.ensure_shape(labels, [together])

        def join(images: "tf.Tensor", labels: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
            return tf.reshape(images, [rows, *shape]), tf.reshape(labels, [rows])

        parts = indices.map(lambda numbers: tf.reshape(numbers, [-1, together])).unbatch()
        examples = parts.map(read, num_parallel_calls=self.threads)
        return examples.batch(rows // together, drop_remainder=True).map(join)

    def in_memory(self) -> ArraySource:
        """The same source with all its examples read and decoded."""
        shape = (self.num_examples, self.resolution, self.resolution, 3)
        images, labels = np.empty(shape, np.uint8), np.empty(self.num_examples, np.int32)

        def read(start: int) -> None:
            rows = np.arange(start, min(start + MOST_AT_ONCE, self.num_examples))
            images[rows], labels[rows] = self.examples(rows)

        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(read, range(0, self.num_examples, MOST_AT_ONCE)):
                pass
        description = {field.name: getattr(self, field.name) for field in dataclasses.fields(Source)}
        return ArraySource(**description, images=images, labels=labels)

    def examples(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images u8[n, resolution, resolution, 3] and labels i32[n] of the examples of these numbers.

        Raises:
          DataError: a label is no class, or too many pictures are unusable.
        """
        images = np.empty((len(numbers), self.resolution, self.resolution, 3), np.uint8)
        labels = np.empty(len(numbers), np.int32)
        for row, number in enumerate(numbers.tolist()):
            images[row], labels[row] = self._usable_example(number)
        return images, labels

    def example(self, number: int) -> tuple[np.ndarray, int]:
        """The image u8[resolution, resolution, 3] and the label of one example, and of no other.

        Raises:
          UnusablePicture: it cannot be read or decoded.
          DataError: its label is no class.
        """
        try:
            encoded, label = self.parse(self.records[number])
        except OSError as error:
            raise UnusablePicture(f"cannot be read: {error.strerror or error}") from error
        if not 0 <= label < self.num_classes:
            raise DataError(
                f"{self.name} has an example of label {label}, but its classes are numbered 0 to "
                f"{self.num_classes - 1}: choose a split that has labels"
            )
        return self.decode(encoded, self.resolution), label

    def _examples(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `examples`, but leaves what failed in `failure`: TensorFlow would print it with a traceback."""
        try:
            return self.examples(numbers)
        except DataError as error:
            self._refusals.failure = str(error)
            shape = (len(numbers), self.resolution, self.resolution, 3)
            return np.zeros(shape, np.uint8), np.zeros(len(numbers), np.int32)

    def _usable_example(self, number: int) -> tuple[np.ndarray, int]:
        candidate = number
        while True:
            try:
                return self.example(candidate)
            except UnusablePicture as error:
                self._refuse(candidate, str(error))
            candidate = (candidate + 1) % self.num_examples

    def _refuse(self, number: int, reason: str) -> None:
        if not self._refusals.add(number, reason):
            return
        reasons = dict(self._refusals.reasons)
        if len(reasons) > max(1, self.max_refused * self.num_examples) or len(reasons) == self.num_examples:
            raise DataError(
                f"{self.name}: {len(reasons):,} of {self.num_examples:,} pictures can't be used, which is "
                f"more than {self.max_refused:.2%}; repair or remove them, or prepare the data set again:"
                + listing((self.name_of(number), reason) for number, reason in reasons.items())
            )
        logging.warning("%s: %s; the next picture stands in for it", self.name_of(number), reason)

    @property
    def refused(self) -> dict[str, str]:
        """Pictures that were left out when the source was opened, with the reasons."""
        return {}

    @property
    def fingerprint(self) -> str:
        """Changes with the pictures that the numbers stand for."""
        return self.description

    def name_of(self, number: int) -> str:
        """What messages call the example."""
        return f"{self.name}, example {number}"


def listing(reasons: Iterable[tuple[str, str]]) -> str:
    """Lines to be put under a message, one a picture, and how many more there are."""
    lines = [f"\n  {name}: {reason}" for name, reason in reasons]
    return "".join(lines[:SHOWN]) + (f"\n  and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else "")
