"""Reads a tf.data pipeline whose functions call Python, and stops it without a deadlock.

At the exit of Python, a thread that calls Python blocks for ever, and TensorFlow waits for its threads before
it frees an iterator. Before an iterator is released, its source therefore ends, and the pending elements are
read.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from biggan_jax.data.source import DataError, Source
from biggan_jax.data.tensorflow_runtime import import_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf


class Reader(Iterator[Any]):
    """An iterator over the elements of a pipeline, as NumPy arrays, that can be released at any time.

    Args:
      begin: Data set at the beginning of the pipeline; it ends when the reader stops.
      pipeline: Function that makes the pipeline from `begin`. Its calls of Python must end with `begin`.
      source: Source that knows why the pipeline failed.
    """

    def __init__(
        self,
        begin: "tf.data.Dataset",
        pipeline: "Callable[[tf.data.Dataset], tf.data.Dataset]",
        source: Source,
    ):
        tf = import_tensorflow()
        running = tf.Variable(True)
        self._source = source
        self._elements = pipeline(begin.take_while(lambda *_: running)).as_numpy_iterator()
        # Called when the reader is collected, or at exit, while Python still runs its threads.
        weakref.finalize(self, _release, self._elements, running)

    def __next__(self) -> Any:
        """Returns the next element.

        Raises:
          DataError: The source cannot read it.
        """
        element = next(self._elements)
        if self._source.failure:
            raise DataError(self._source.failure)
        return element


def _release(elements: Iterator[Any], running: "tf.Variable") -> None:
    if threading.current_thread() is threading.main_thread():
        _drain(elements, running)
    else:  # the garbage collector may run in a thread for which the pipeline waits
        threading.Thread(target=_drain, args=(elements, running)).start()


def _drain(elements: Iterator[Any], running: "tf.Variable") -> None:
    tf = import_tensorflow()
    running.assign(False)
    while True:
        try:
            next(elements)
        except StopIteration:
            return
        except tf.errors.OpError:
            continue  # another batch that could not be read
