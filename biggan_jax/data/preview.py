"""Previews the data of a run before it starts: its first images, and the speed of reading."""

import dataclasses
import itertools
import time

import numpy as np

from biggan_jax.data.pipeline import batches
from biggan_jax.data.source import Source

IMAGES = 64


@dataclasses.dataclass(frozen=True)
class Throughput:
    """The speed of reading on an otherwise idle machine.

    Attributes:
      images_per_second: Images a second.
      cores_busy: CPU seconds of all threads per second.
    """

    images_per_second: float
    cores_busy: float


def preview(source: Source, *, seed: int, random_flip: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first images of a run as the discriminator gets them.

    Args:
      source: Source of the images.
      seed: Seed of the run.
      random_flip: Whether half of the images are mirrored.

    Returns:
      u8[64, H, W, 3] and labels i32[64]; images of a smaller source repeat.
    """
    batch = next(batches(source, batch_size=IMAGES, d_steps=1, seed=seed, random_flip=random_flip))
    return batch["images"][0], batch["labels"][0]


def measure_throughput(
    source: Source, *, batch_size: int, d_steps: int, seed: int, random_flip: bool, seconds: float = 5.0
) -> Throughput:
    """Measures the speed of reading a run's batches, after the pipeline is full.

    Args:
      source: Source of the images.
      batch_size: Rows of a discriminator batch.
      d_steps: Discriminator batches in a step.
      seed: Seed of the run.
      random_flip: Whether half of the images are mirrored.
      seconds: Seconds to read for; at least three batches are read.

    Returns:
      The speed.
    """
    stream = batches(source, batch_size=batch_size, d_steps=d_steps, seed=seed, random_flip=random_flip)
    for _ in range(3):  # more batches than are read ahead
        next(stream)
    start, used = time.perf_counter(), time.process_time()
    for steps in itertools.count(1):
        next(stream)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds and steps >= 3:
            break
    return Throughput(
        images_per_second=steps * d_steps * batch_size / elapsed,
        cores_busy=(time.process_time() - used) / elapsed,
    )
