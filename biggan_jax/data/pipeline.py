"""Makes batches for the training step: tf.data reads, mirrors and prefetches images in order.py's order."""

from collections.abc import Iterator

import numpy as np

from biggan_jax.data import order
from biggan_jax.data.reader import Reader
from biggan_jax.data.source import DataError, Source
from biggan_jax.data.tensorflow_runtime import import_tensorflow

READ_AHEAD = 2  # steps


def batches(
    source: Source,
    *,
    batch_size: int,
    d_steps: int,
    seed: int,
    start_step: int = 0,
    random_flip: bool,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
    """Returns an endless iterator of batches, one for each training step from `start_step` on.

    Row i of discriminator batch d in a step is at position (step · d_steps + d) · batch_size + i of the run,
    and order.py determines its example and whether it is mirrored. The batches therefore do not depend on
    the number of processes or on interruptions, and a run resumes without reading earlier batches.

    Args:
      source: Source of the images.
      batch_size: Rows of a discriminator batch, over all processes.
      d_steps: Discriminator batches in a step.
      seed: Seed of the order and of the mirroring.
      start_step: First step.
      random_flip: Whether to mirror half of the images, left to right.
      process_index: Index of this process, which gets one of `process_count` equal ranges of rows.
      process_count: Number of processes that share a batch.

    Yields:
      {"images": u8[d_steps, batch_size / process_count, H, W, 3], "labels": i32[d_steps, …]}

    Raises:
      DataError: `process_count` does not divide `batch_size`.
    """
    if batch_size % process_count:
        raise DataError(
            f"batch_size = {batch_size} cannot be divided evenly among {process_count} processes: choose a "
            f"multiple of {process_count}"
        )
    tf = import_tensorflow()
    step_size = d_steps * batch_size
    local = batch_size // process_count
    rows = slice(process_index * local, (process_index + 1) * local)

    def example_numbers(step: np.ndarray) -> np.ndarray:
        positions = int(step) * step_size + np.arange(step_size).reshape(d_steps, batch_size)
        return order.examples(seed, positions[:, rows], source.num_examples).reshape(-1)

    def mirror_images(step: np.ndarray) -> np.ndarray:
        flips = order.flips(seed, int(step) * step_size, step_size)
        return flips.reshape(d_steps, batch_size)[:, rows].reshape(-1)

    def numpy_map(steps, function, dtype):
        def apply(step):
            return tf.ensure_shape(tf.numpy_function(function, [step], dtype), [d_steps * local])

        return steps.map(apply)

    def flip(example, mirror):
        images, labels = example
        size = source.resolution
        turned, left = tf.where(mirror)[:, 0], tf.where(~mirror)[:, 0]
        # TensorFlow mirrors fastest in this form: three axes, the last one with three channels.
        rows = tf.reverse(tf.reshape(tf.gather(images, turned), [-1, size, 3]), [1])
        parts = [tf.reshape(rows, [-1, size, size, 3]), tf.gather(images, left)]
        return tf.dynamic_stitch([tf.cast(turned, tf.int32), tf.cast(left, tf.int32)], parts), labels

    def split(images, labels):
        shape = [d_steps, local]
        return {
            "images": tf.reshape(images, shape + [source.resolution, source.resolution, 3]),
            "labels": tf.reshape(labels, shape),
        }

    options = tf.data.Options()
    options.deterministic = True
    # The step's threads need the cores, so the pipeline gets only the threads that the source can use.
    options.threading.private_threadpool_size = source.threads
    options.threading.max_intra_op_parallelism = 1
    all_steps = tf.data.Dataset.range(start_step, np.iinfo(np.int64).max)

    def pipeline(steps):
        dataset = source.lookup(numpy_map(steps, example_numbers, tf.int64))
        if random_flip:
            dataset = tf.data.Dataset.zip(dataset, numpy_map(all_steps, mirror_images, tf.bool)).map(flip)
        return dataset.map(split).prefetch(READ_AHEAD).with_options(options)

    return Reader(all_steps, pipeline, source)
