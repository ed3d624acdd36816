"""What is collected for section 3: of so many images, in whatever parts they come."""

import numpy as np
import pytest
from rich.console import Console

from biggan_jax.evaluation import shuffled_patches
from biggan_jax.evaluation.image_sets import ImageBatch, ImagesInMemory
from biggan_jax.evaluation.networks.extraction import extract_features
from biggan_jax.evaluation.networks.feature_network import from_function
from biggan_jax.evaluation.scores.patch_shuffling import shuffle_patches, thumbnails

IMAGES = np.random.default_rng(0).integers(0, 256, (600, 8, 8, 3)).astype(np.uint8)
MIXING = np.random.default_rng(1).standard_normal((192, 6)).astype(np.float32)


def features(images):
    return images.reshape(len(images), -1).astype(np.float32) @ MIXING


@pytest.mark.parametrize("most", [1_000, 600, 300, 256, 100])
def test_of_more_images_than_are_wanted_the_first_are_taken_whole_and_shuffled(monkeypatch, most):
    monkeypatch.setattr(shuffled_patches, "MOST", most)
    network = from_function("mixing", features, 8)
    collector = shuffled_patches.ShuffledPatchesCollector(network, 8, seed=3)
    extract_features(network, ImagesInMemory(IMAGES, None), "features", Console(quiet=True), collector)
    found, count = collector.statistics(), min(most, len(IMAGES))
    sets = {True: IMAGES[:count], False: shuffle_patches(IMAGES[:count], seed=3)}
    assert found.keys() == {(by, whole) for by in ("network", "thumbnails") for whole in sets}
    for whole, images in sets.items():
        for by, rows in (("network", features(images)), ("thumbnails", thumbnails(images))):
            assert found[by, whole].count == count
            np.testing.assert_allclose(found[by, whole].mean, rows.mean(axis=0), rtol=1e-4, atol=1e-3)


def test_a_process_whose_share_lies_beyond_that_has_nothing_to_add(monkeypatch):
    monkeypatch.setattr(shuffled_patches, "MOST", 100)
    network = from_function("mixing", features, 8)
    collector = shuffled_patches.ShuffledPatchesCollector(network, 8, seed=3)
    collector(ImageBatch(0, IMAGES[:100], None), features(IMAGES[:100]))
    before = collector.statistics()
    collector(ImageBatch(100, IMAGES[100:], None), features(IMAGES[100:]))
    for key, statistics in collector.statistics().items():
        np.testing.assert_array_equal(statistics.covariance, before[key].covariance)
