"""What `scores.shape` takes: statistics of images, whole and with shuffled patches, by the feature network
and by thumbnails.

Collected while the images are looked at for everything else. The shuffled ones cost the network another look,
so there is a limit to how many there are.
"""

from typing import NamedTuple

import numpy as np

from biggan_jax.evaluation.image_sets import ImageBatch
from biggan_jax.evaluation.networks.extraction import merge_across_processes
from biggan_jax.evaluation.networks.feature_network import FeatureNetwork
from biggan_jax.evaluation.scores import patch_shuffling
from biggan_jax.evaluation.scores.frechet import FeatureStatistics
from biggan_jax.evaluation.scores.moments import Moments
from biggan_jax.evaluation.scores.patch_shuffling import (
    NetworkAgreement,
    PatchSensitivity,
    shuffle_patches,
    thumbnails,
)

MOST = 10_000  # images of a set
LEAST = 500  # of each of the two: of fewer, the distances of thumbnails are mostly chance


class ShuffledPatchesCollector:
    """A watcher of `looking.look` for one set of images.

    Args:
      network: that looks at the shuffled images.
      resolution: pixels a side.
      seed: of the shuffles, another one for each set.
    """

    def __init__(self, network: FeatureNetwork, resolution: int, seed: int):
        self._network, self._seed = network, seed
        self._grid = divisor(resolution, patch_shuffling.GRID)
        self._size = divisor(resolution, patch_shuffling.THUMBNAIL)
        self._moments = {
            (by, whole): Moments() for by in ("network", "thumbnails") for whole in (True, False)
        }

    def __call__(self, part: ImageBatch, features: np.ndarray) -> None:
        images = part.images[: max(0, MOST - part.start)]
        if not len(images):
            return
        shuffled = shuffle_patches(images, self._grid, self._seed, part.start)
        self._moments["network", True].update(features[: len(images)])
        self._moments["network", False].update(self._network(shuffled)[0])
        self._moments["thumbnails", True].update(thumbnails(images, self._size))
        self._moments["thumbnails", False].update(thumbnails(shuffled, self._size))

    def statistics(self) -> dict[tuple[str, bool], FeatureStatistics]:
        """By ("network" or "thumbnails", whole or not), of what all processes saw."""
        return {key: merge_across_processes(moments).statistics() for key, moments in self._moments.items()}


class ShuffledPatches(NamedTuple):
    """The samples' shape by the network and by thumbnails, and whether the two agree."""

    by_network: PatchSensitivity
    by_thumbnails: PatchSensitivity
    second: NetworkAgreement


def compare_shuffled_patches(
    name: str,
    real: dict[tuple[str, bool], FeatureStatistics],
    samples: dict[tuple[str, bool], FeatureStatistics],
) -> ShuffledPatches:
    """Judges shape by what `ShuffledPatchesCollector.statistics` says of real images and of samples."""
    first, second = (
        patch_shuffling.patch_sensitivity(
            title, real[by, True], real[by, False], samples[by, True], samples[by, False]
        )
        for by, title in (("network", name), ("thumbnails", "thumbnails"))
    )
    return ShuffledPatches(first, second, patch_shuffling.network_agreement(first, second))


def reason_not_measured(resolution: int, *counts: int) -> str | None:
    """Why sets of so many images, of so many pixels a side, cannot be compared; None if they can."""
    if divisor(resolution, patch_shuffling.GRID) == 1:
        return f"{resolution} pixels cannot be cut into patches of one size"
    if min(counts) < LEAST:
        return f"it takes {LEAST} samples and {LEAST} real images, or more"
    return None


def divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return next(candidate for candidate in range(most, 0, -1) if number % candidate == 0)
