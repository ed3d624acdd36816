"""The extracted features of images, and the memory that they take."""

import tracemalloc

import numpy as np
import pytest
from rich.console import Console

from biggan_jax.evaluation.image_sets import ImagesInMemory
from biggan_jax.evaluation.networks.extraction import extract_features
from biggan_jax.evaluation.networks.feature_network import from_function

COUNT, WIDTH = 6_000, 512
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 2, 2, 3)).astype(np.uint8)
MIXING = np.random.default_rng(1).standard_normal((12, WIDTH)).astype(np.float32)


def network(images):
    flat = images.reshape(len(images), -1).astype(np.float32)
    return flat @ MIXING, flat[:, :5]


@pytest.mark.parametrize("labelled", [True, False])
def test_features_logits_and_labels_come_in_the_order_of_the_images_and_observers_get_all(labelled):
    labels, observed = np.arange(COUNT, dtype=np.int32), []
    images = ImagesInMemory(IMAGES, labels if labelled else None)

    def observe(part, features):
        observed.append((part.start, len(part.images), features[0]))

    extracted = extract_features(
        from_function("mixing", network, 2), images, "features", Console(quiet=True), observe
    )
    features, logits = network(IMAGES)
    np.testing.assert_allclose(extracted.features, features, rtol=1e-5, atol=1e-2)
    np.testing.assert_array_equal(extracted.logits, logits)
    assert (extracted.labels is not None) == labelled
    if labelled:
        np.testing.assert_array_equal(extracted.labels, labels)
    assert [start for start, _, _ in observed] == list(np.cumsum([0] + [n for _, n, _ in observed])[:-1])
    np.testing.assert_array_equal(
        [row for _, _, row in observed], [extracted.features[at] for at, _, _ in observed]
    )


def test_features_stand_in_memory_only_once():
    opened, images = from_function("mixing", network, 2), ImagesInMemory(IMAGES, None)
    tracemalloc.start()
    try:
        extracted = extract_features(opened, images, "features", Console(quiet=True))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * extracted.features.nbytes
