"""Sources whose pictures are in files, read by number and decoded on demand."""

import concurrent.futures
import dataclasses
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from biggan_jax.data.decode import UnusablePicture, decode_square
from biggan_jax.data.source import ArraySource, DataError, Source, key_of
from biggan_jax.data.tensorflow_runtime import import_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf

MAX_REFUSED = 0.01  # share of a set's pictures that may be unusable; one picture always may
MAX_LISTED = 10  # pictures in one message
EXAMPLES_PER_TASK = 16
UNREADABLE = 2**64 - 1  # in place of a picture's hash
PROBES = 64  # images whose content stands for a set that is too large to be read as a whole


class Records(Protocol):
    """Stored examples by number, which several threads read at once."""

    def __getitem__(self, number: int, /) -> Any: ...


class Refusals:
    """The pictures that proved unusable while they were read.

    Attributes:
      reasons: Reasons by number.
      failure: Message of the error that ends the run, or None.
    """

    def __init__(self):
        self.reasons: dict[int, str] = {}
        self.failure: str | None = None
        self._lock = threading.Lock()

    def add(self, number: int, reason: str) -> bool:
        """Adds a picture and its reason; returns whether the picture is new."""
        with self._lock:
            is_new = number not in self.reasons
            self.reasons[number] = reason
            return is_new


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordSource(Source):
    """A source whose examples are read from files on demand.

    A picture that cannot be read or decoded, such as a file that was deleted after the source was opened or a
    damaged record, does not end a run: the next usable picture in the source's numbering always replaces it,
    and a warning names it once. When more than `max_refused` of the pictures are unusable, the run ends with
    a `DataError`.

    Attributes:
      records: Stored examples.
      parse: Function from a record to the encoded picture and its label. Whatever it or `records` raises, but
        a DataError, makes the picture unusable.
      decode: Function from an encoded picture and the resolution to u8[resolution, resolution, 3].
      max_refused: Share of the pictures that may prove unusable.
    """

    records: Records = dataclasses.field(repr=False)
    parse: Callable[[Any], tuple[bytes, int]] = dataclasses.field(repr=False)
    decode: Callable[[bytes, int], np.ndarray] = dataclasses.field(default=decode_square, repr=False)
    max_refused: float = MAX_REFUSED
    _refusals: Refusals = dataclasses.field(default_factory=Refusals, repr=False, compare=False)

    @property
    def threads(self) -> int:
        """Number of CPU threads that reading can use: one for each core."""
        return os.cpu_count() or 1

    @property
    def failure(self) -> str | None:
        """Message of the `DataError` that ended reading, or None."""
        return self._refusals.failure

    def lookup(self, indices: "tf.data.Dataset") -> "tf.data.Dataset":
        """Reads and decodes examples, as `Source.lookup` describes."""
        tf = import_tensorflow()
        (rows,) = indices.element_spec.shape  # pyright: ignore[reportAttributeAccessIssue]
        together = next(count for count in range(min(rows, EXAMPLES_PER_TASK), 0, -1) if rows % count == 0)
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
        """Reads and decodes all examples; returns the same source in memory."""
        shape = (self.num_examples, self.resolution, self.resolution, 3)
        images, labels = np.empty(shape, np.uint8), np.empty(self.num_examples, np.int32)
        keys = np.empty(self.num_examples, np.uint64)

        def read(start: int) -> None:
            rows = np.arange(start, min(start + EXAMPLES_PER_TASK, self.num_examples))
            images[rows], labels[rows] = self.examples(rows)
            keys[rows] = [self.key(row) for row in rows.tolist()]

        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(read, range(0, self.num_examples, EXAMPLES_PER_TASK)):
                pass
        description = {field.name: getattr(self, field.name) for field in dataclasses.fields(Source)}
        return ArraySource(**description, images=images, labels=labels, stored_keys=keys)

    def examples(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads and decodes the examples with the given numbers, or replacements for unusable ones.

        Args:
          numbers: i64[n].

        Returns:
          Images u8[n, resolution, resolution, 3] and labels i32[n].

        Raises:
          DataError: A label is not a class, or too many pictures are unusable.
        """
        images = np.empty((len(numbers), self.resolution, self.resolution, 3), np.uint8)
        labels = np.empty(len(numbers), np.int32)
        for row, number in enumerate(numbers.tolist()):
            images[row], labels[row] = self._usable_example(number)
        return images, labels

    def example(self, number: int) -> tuple[np.ndarray, int]:
        """Reads and decodes one example, without a replacement.

        Args:
          number: Number of the example.

        Returns:
          The image u8[resolution, resolution, 3] and the label.

        Raises:
          UnusablePicture: The picture cannot be read or decoded.
          DataError: The label is not a class.
        """
        try:
            encoded, label = self.parse(self.records[number])
        except (UnusablePicture, DataError, MemoryError):
            raise
        except OSError as error:
            raise UnusablePicture(f"cannot be read: {error.strerror or error}") from error
        except Exception as error:  # whatever ArrayRecord, TensorFlow and protobuf raise for a damaged record
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UnusablePicture(f"its record is damaged: {reason}") from error
        if not 0 <= label < self.num_classes:
            raise DataError(
                f"{self.name} has an example of label {label}, but its classes are numbered 0 to "
                f"{self.num_classes - 1}: choose a split that has labels"
            )
        return self.decode(encoded, self.resolution), label

    def _examples(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Calls `examples`, but keeps an error in `failure`: TensorFlow would print it with a traceback."""
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
                f"{self.name}: {len(reasons):,} of {self.num_examples:,} pictures are unusable, which is "
                f"more than {self.max_refused:.2%}; repair or remove them, or prepare the data set again:"
                + listing((self.name_of(number), reason) for number, reason in reasons.items())
            )
        logging.warning("%s: %s; the next picture replaces it", self.name_of(number), reason)

    @property
    def refused(self) -> dict[str, str]:
        """Reasons why pictures were left out when the source was opened, by picture."""
        return {}

    @property
    def listing_hash(self) -> str:
        """A text that changes with the pictures' names or numbers; nothing is read for it."""
        return self.description

    @property
    def content_hash(self) -> str:
        """A hash of `PROBES` images, evenly spaced, and their labels."""
        numbers = np.linspace(0, self.num_examples - 1, PROBES).astype(int).tolist()
        labelled = [(self.key(number), self._label(number)) for number in numbers]
        return hashlib.sha256(repr(labelled).encode()).hexdigest()

    def key(self, number: int) -> int:
        """Returns the hash of a stored picture, or `UNREADABLE`."""
        try:
            return key_of(self.parse(self.records[number])[0])
        except (OSError, UnusablePicture):
            return UNREADABLE

    def _label(self, number: int) -> int:
        try:
            return self.parse(self.records[number])[1]
        except (OSError, UnusablePicture):
            return -1

    def name_of(self, number: int) -> str:
        """Returns the name of an example for messages."""
        return f"{self.name}, example {number}"


def listing(reasons: Iterable[tuple[str, str]]) -> str:
    """Lists pictures and reasons below a message.

    Args:
      reasons: Pairs of a picture's name and the reason.

    Returns:
      A line for each of the first pictures, and the number of the others.
    """
    lines = [f"\n  {name}: {reason}" for name, reason in reasons]
    return "".join(lines[:MAX_LISTED]) + (
        f"\n  and {len(lines) - MAX_LISTED:,} more" if len(lines) > MAX_LISTED else ""
    )
