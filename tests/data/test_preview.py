"""What a run would read, and how fast: images as the run sees them, and an honest rate."""

import time

import numpy as np
import pytest

from biggan_jax.data import batches
from biggan_jax.data.preview import measure_throughput, preview
from biggan_jax.data.records import RecordSource

EXAMPLES = 100
SECONDS = 0.002  # that each picture takes to decode


def decode(encoded: bytes, resolution: int) -> np.ndarray:
    time.sleep(SECONDS)
    return np.full((resolution, resolution, 3), encoded[0], np.uint8)


@pytest.fixture
def source() -> RecordSource:
    return RecordSource(
        name="slow",
        description="",
        num_examples=EXAMPLES,
        class_names=("even", "odd"),
        resolution=8,
        records=range(EXAMPLES),
        parse=lambda number: (bytes([number]), number % 2),
        decode=decode,
    )


def test_the_preview_is_what_the_run_sees_first(source):
    images, labels = preview(source, seed=3, random_flip=True)
    assert images.shape == (64, 8, 8, 3) and labels.shape == (64,)
    first = next(batches(source, batch_size=64, d_steps=1, seed=3, random_flip=True))
    np.testing.assert_array_equal(images, first["images"][0])
    np.testing.assert_array_equal(labels, images[:, 0, 0, 0] % 2)


def test_the_throughput_is_that_of_the_slowest_part(source):
    """Sleeping threads: each of the pipeline's gives 500 images a second, and none keeps a core busy."""
    found = measure_throughput(source, batch_size=32, d_steps=2, seed=0, random_flip=False, seconds=0.5)
    fastest = source.threads / SECONDS
    assert 0.2 * fastest < found.images_per_second < 1.3 * fastest
    assert 0 < found.cores_busy < source.threads
