"""Reading a tf.data pipeline whose functions call Python, and stopping it without a deadlock.

When Python exits, a thread that calls it again is never let in, and TensorFlow, which frees the iterator only
after its threads have ended, waits for ever. So before an iterator is let go its source is shut off, and what
is still under way is read to the end.
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
    """The elements, as NumPy arrays, of a pipeline that may be let go of at any time.

    Args:
      begin: the data set that the pipeline begins with, which is shut off to stop it.
      pipeline: makes the pipeline from it; whatever calls Python in it must have ended when it ends.
      source: knows why a pipeline failed.
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
        # Called when the reader is collected, or else at exit, while Python still runs its threads.
        weakref.finalize(self, _let_go, self._elements, running)

    def __next__(self) -> Any:
        """The next element.

        Raises:
          DataError: the source could not give it.
        """
        element = next(self._elements)
        if self._source.failure:
            raise DataError(self._source.failure)
        return element


def _let_go(elements: Iterator[Any], running: "tf.Variable") -> None:
    if threading.current_thread() is threading.main_thread():
        _wind_down(elements, running)
    else:  # the garbage collector runs in any thread, also in one that the pipeline would wait for here
        threading.Thread(target=_wind_down, args=(elements, running)).start()


def _wind_down(elements: Iterator[Any], running: "tf.Variable") -> None:
    tf = import_tensorflow()
    running.assign(False)
    while True:
        try:
            next(elements)
        except StopIteration:
            return
        except tf.errors.OpError:
            continue  # one more batch that could not be read
