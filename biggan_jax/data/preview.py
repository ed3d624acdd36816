"""What a run would read, before it begins: some of its first images, and how fast they come."""

import dataclasses
import itertools
import time

import numpy as np

from biggan_jax.data.pipeline import batches
from biggan_jax.data.source import Source

IMAGES = 64


@dataclasses.dataclass(frozen=True)
class Throughput:
    """How fast a process reads, with all its cores and nothing else to do.

    Attributes:
      images_per_second: that it delivers.
      cores_busy: CPU seconds, of all its threads, per second.
    """

    images_per_second: float
    cores_busy: float


def preview(source: Source, *, seed: int, random_flip: bool) -> tuple[np.ndarray, np.ndarray]:
    """The first images that a run would see, as it would see them.

    Returns:
      u8[64, H, W, 3] and labels i32[64]; of a source with fewer images, some come again.
    """
    batch = next(batches(source, batch_size=IMAGES, d_steps=1, seed=seed, random_flip=random_flip))
    return batch["images"][0], batch["labels"][0]


def measure_throughput(
    source: Source, *, batch_size: int, d_steps: int, seed: int, random_flip: bool, seconds: float = 5.0
) -> Throughput:
    """Reads a run's batches for so many seconds, at least three, after some that fill the pipeline."""
    stream = batches(source, batch_size=batch_size, d_steps=d_steps, seed=seed, random_flip=random_flip)
    for _ in range(3):  # more than are read ahead
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
