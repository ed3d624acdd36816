"""Reading a tf.data pipeline whose functions call Python, and stopping it without a deadlock.

When Python exits, a thread that calls it again is never let in, and TensorFlow, which frees the iterator only
after its threads have ended, waits for ever. So before an iterator is let go its source is shut off, and what
is still under way is read to the end.
"""

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from biggan_jax.data.source import DataError
from biggan_jax.data.tensorflow_runtime import import_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf


class Reader(Iterator[Any]):
    """The elements, as NumPy arrays, of a pipeline that may be let go of at any time.

    Args:
      begin: the data set that the pipeline begins with, which is shut off to stop it.
      pipeline: makes the pipeline from it; whatever calls Python in it must have ended when it ends.
      name: of the source, for errors.
    """

    def __init__(
        self, begin: "tf.data.Dataset", pipeline: "Callable[[tf.data.Dataset], tf.data.Dataset]", name: str
    ):
        tf = import_tensorflow()
        running = tf.Variable(True)
        self._name = name
        self._elements = pipeline(begin.take_while(lambda *_: running)).as_numpy_iterator()
        self._unreadable = tf.errors.InvalidArgumentError
        # Called when the reader is collected, or else at exit, while Python still runs its threads.
        weakref.finalize(self, _wind_down, self._elements, running)

    def __next__(self) -> Any:
        """The next element.

        Raises:
          DataError: an example is no picture, or its label no class.
        """
        try:
            return next(self._elements)
        except self._unreadable as error:
            raise DataError(
                f"{self._name} holds something that is no picture with a class ({error.message.strip()}): "
                "choose a split that has labels, or prepare the data set again"
            ) from error


def _wind_down(elements: Iterator[Any], running: "tf.Variable") -> None:
    tf = import_tensorflow()
    running.assign(False)
    while True:
        try:
            next(elements)
        except StopIteration:
            return
        except tf.errors.InvalidArgumentError:
            continue  # one more example that is no picture
