"""Collects the statistics for blind spot 3: images with and without shuffled patches, by two networks.

The two networks are the feature network and thumbnails. Statistics are collected while features are extracted
for the other scores. Shuffled images pass through the network in addition, so their number is limited.
"""

from typing import NamedTuple

import numpy as np

from biggan_jax.evaluation.image_sets import ImageBatch
from biggan_jax.evaluation.networks.extraction import merge_across_processes
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.scores import patch_shuffling
from biggan_jax.evaluation.scores.moments import FeatureStatistics, Moments
from biggan_jax.evaluation.scores.patch_shuffling import (
    NetworkAgreement,
    PatchSensitivity,
    shuffle_patches,
    thumbnails,
)

MOST = 10_000  # images of a set
LEAST = 500  # images of either set: with fewer, the distances of thumbnails are mostly chance

Statistics = dict[tuple[str, bool], FeatureStatistics]  # by network and whether the images are intact


class ShuffledPatchesCollector:
    """An observer of `extract_features` for one set of images.

    Args:
      network: Feature network for the shuffled images.
      resolution: Pixels a side.
      seed: Seed of the shuffles, different for each set.
    """

    def __init__(self, network: FeatureNetwork, resolution: int, seed: int):
        self._network, self._seed = network, seed
        self._grid = divisor(resolution, patch_shuffling.GRID)
        self._size = divisor(resolution, patch_shuffling.THUMBNAIL)
        self._moments = {
            (by, intact): Moments() for by in ("network", "thumbnails") for intact in (True, False)
        }

    def __call__(self, part: ImageBatch, features: np.ndarray) -> None:
        """Adds a batch of images with its features; images beyond the first `MOST` are ignored."""
        images = part.images[: max(0, MOST - part.start)]
        if not len(images):
            return
        shuffled = shuffle_patches(images, self._grid, self._seed, part.start)
        self._moments["network", True].update(features[: len(images)])
        self._moments["network", False].update(self._network(shuffled)[0])
        self._moments["thumbnails", True].update(thumbnails(images, self._size))
        self._moments["thumbnails", False].update(thumbnails(shuffled, self._size))

    def statistics(self) -> Statistics:
        """Returns the statistics over all processes."""
        return {key: merge_across_processes(moments).statistics() for key, moments in self._moments.items()}


class ShuffledPatches(NamedTuple):
    """The measures of blind spot 3.

    Attributes:
      by_network: Sensitivity by the feature network.
      by_thumbnails: Sensitivity by thumbnails.
      agreement: Agreement of the two.
    """

    by_network: PatchSensitivity
    by_thumbnails: PatchSensitivity
    agreement: NetworkAgreement


def compare_shuffled_patches(name: str, real: Statistics, samples: Statistics) -> ShuffledPatches:
    """Compares samples with real images.

    Args:
      name: Name of the feature network.
      real: Statistics of real images.
      samples: Statistics of the samples.
    """
    first, second = (
        patch_shuffling.patch_sensitivity(
            title, real[by, True], real[by, False], samples[by, True], samples[by, False]
        )
        for by, title in (("network", name), ("thumbnails", "thumbnails"))
    )
    return ShuffledPatches(first, second, patch_shuffling.network_agreement(first, second))


def reason_not_measured(resolution: int, *counts: int) -> str | None:
    """Returns the reason why blind spot 3 cannot be measured; None if it can.

    Args:
      resolution: Pixels a side.
      *counts: Numbers of images of each set.
    """
    if divisor(resolution, patch_shuffling.GRID) == 1:
        return f"images of {resolution} px cannot be cut into patches of one size"
    if min(counts) < LEAST:
        return f"this measure needs at least {LEAST} samples and {LEAST} real images"
    return None


def divisor(number: int, most: int) -> int:
    """Returns the largest divisor of `number` that is at most `most`."""
    return next(candidate for candidate in range(most, 0, -1) if number % candidate == 0)
