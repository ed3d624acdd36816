"""Batches for the training step: the order of order.py, looked up, mirrored and read ahead by tf.data."""

from collections.abc import Iterator

import numpy as np

from biggan_jax.data import order
from biggan_jax.data.reading import Reader
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
    """Endless batches, one for each training step from `start_step` on.

    Row i of discriminator batch d in a step stands at position (step · d_steps + d) · batch_size + i of the
    run, and order.py says which example that is and whether it is mirrored. So neither the number of
    processes nor a resumed run changes what the networks see, and resuming costs nothing.

    Args:
      source: the images.
      batch_size: rows of a discriminator batch, over all processes.
      d_steps: discriminator batches a step.
      seed: of the order and the mirroring.
      start_step: the first step to give a batch for.
      random_flip: mirror half of the images, left to right.
      process_index: which of `process_count` equal ranges of each batch's rows to give.
      process_count: processes that share the batch.

    Yields:
      {"images": u8[d_steps, batch_size / process_count, H, W, 3], "labels": i32[d_steps, …]}

    Raises:
      DataError: `batch_size` is not divisible by `process_count`.
    """
    if batch_size % process_count:
        raise DataError(
            f"batch_size = {batch_size} cannot be shared evenly by {process_count} processes: choose a "
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
        # Of all ways to mirror, TensorFlow is fast at this one: three axes, the last with three channels.
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
    # The step's own threads need the cores: no more here than this source can use.
    options.threading.private_threadpool_size = source.threads
    options.threading.max_intra_op_parallelism = 1
    all_steps = tf.data.Dataset.range(start_step, np.iinfo(np.int64).max)

    def pipeline(steps):
        dataset = source.lookup(numpy_map(steps, example_numbers, tf.int64))
        if random_flip:
            dataset = tf.data.Dataset.zip(dataset, numpy_map(all_steps, mirror_images, tf.bool)).map(flip)
        return dataset.map(split).prefetch(READ_AHEAD).with_options(options)

    return Reader(all_steps, pipeline, source)
