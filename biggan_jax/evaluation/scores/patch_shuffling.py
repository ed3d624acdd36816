"""Sensitivity of features to global shape: blind spot 3 of the Inception Score.

The Inception Score does not punish two heads or a wrong global shape (Barratt & Sharma 2018, arXiv
1801.01973, section 4). The control is real images with shuffled patches: each patch is right, the global
shape is not. The distance between real images and the control measures how far a network perceives global
shape. The same distance for the samples, relative to it, measures whether the samples have a shape that
shuffling destroys.
"""

import dataclasses

import numpy as np

from biggan_jax.evaluation.scores.frechet import distance, expected_bias
from biggan_jax.evaluation.scores.moments import FeatureStatistics

GRID = 4  # patches a side
THUMBNAIL = 8  # pixels a side: two per patch

# Shuffling must move the features of the samples at least this far, as a share of its effect on real images.
# By Fashion-MNIST's classifier and by thumbnails, 500 held-out images reach 0.89 to 1.13, and 0.24 to 0.44 if
# every other one is shuffled.
LEAST_WHOLENESS = 0.7
# Two networks disagree if the samples are at least this far from real images by one (the control being 1)…
FAR = 0.25
# …and at most a third as far by the other.
DISAGREEMENT = 3.0


@dataclasses.dataclass(frozen=True)
class PatchSensitivity:
    """The sensitivity of a network to shape, and the shape of the samples by it.

    Attributes:
      network: Name of the network.
      control_fid: FID between real images and the same images with shuffled patches.
      samples_fid: FID between the samples and real images.
      share: `samples_fid` / `control_fid`; 1 is as far from real images as the control.
      wholeness: FID between the samples and the shuffled samples, as a share of `control_fid`.
      blind: Whether FID under this network says nothing about shape: the FID of the samples is not below
        the control's, or the control's is within the bias of finitely many samples.
      flagged: Whether the network is blind or shuffling hardly changes the samples.
      sentence: The same in words.
    """

    network: str
    control_fid: float
    samples_fid: float
    share: float
    wholeness: float
    blind: bool
    flagged: bool
    sentence: str


@dataclasses.dataclass(frozen=True)
class NetworkAgreement:
    """The agreement of two networks on the distance between samples and real images.

    Attributes:
      first: Name of the first network.
      second: Name of the second network.
      first_share: Distance by the first network, as a share of its control.
      second_share: Distance by the second network, as a share of its control.
      flagged: Whether the networks disagree.
      sentence: The same in words.
    """

    first: str
    second: str
    first_share: float
    second_share: float
    flagged: bool
    sentence: str


def shuffle_patches(images: np.ndarray, grid: int = GRID, seed: int = 0, start: int = 0) -> np.ndarray:
    """Moves every patch of each image to another place, in a different order for each image.

    Args:
      images: u8[N, H, W, 3].
      grid: Patches a side; divides H and W.
      seed: Seed of the orders.
      start: Index of the first image. A set shuffled in batches equals the set shuffled at once.

    Raises:
      ValueError: `grid` does not divide H or W.
    """
    n, height, width, channels = images.shape
    if height % grid or width % grid:
        raise ValueError(f"{height} × {width} pixels cannot be cut into {grid} × {grid} patches")
    cut = (n, grid, height // grid, grid, width // grid, channels)
    patches = images.reshape(cut).swapaxes(2, 3).reshape(n, grid**2, height * width * channels // grid**2)
    places = np.empty((n, grid * grid), int)
    for number in range(n):
        order = np.random.default_rng((seed, start + number)).permutation(grid * grid)
        places[number, order] = np.roll(order, 1)  # one cycle through all patches: none keeps its place
    patches = np.take_along_axis(patches, places[:, :, None], axis=1)
    cut = (n, grid, grid, height // grid, width // grid, channels)
    return patches.reshape(cut).swapaxes(2, 3).reshape(images.shape)


def thumbnails(images: np.ndarray, size: int = THUMBNAIL) -> np.ndarray:
    """Averages images to `size` × `size` pixels in [0, 1], as features f32[N, size² · 3].

    Thumbnails hold layout and nothing else, so they serve as a second feature network without weights.

    Raises:
      ValueError: `size` does not divide H or W.
    """
    n, height, width, channels = images.shape
    if height % size or width % size:
        raise ValueError(f"{height} × {width} pixels cannot be averaged to {size} × {size}")
    parts = images.reshape(n, size, height // size, size, width // size, channels)
    return (parts.mean(axis=(2, 4), dtype=np.float32) / 255).reshape(n, size**2 * channels)


def patch_sensitivity(
    network: str,
    real: FeatureStatistics,
    shuffled_real: FeatureStatistics,
    samples: FeatureStatistics,
    shuffled_samples: FeatureStatistics,
) -> PatchSensitivity:
    """Measures sensitivity to shape from statistics by one network.

    Args:
      network: Name of the network, for the sentence.
      real: Statistics of real images.
      shuffled_real: Statistics of the same images with shuffled patches.
      samples: Statistics of the samples.
      shuffled_samples: Statistics of the same samples with shuffled patches.
    """
    control, to_real = distance(real, shuffled_real), distance(real, samples)
    bias = expected_bias(real.spectrum[0], samples.count, real.count) if samples.count else 0.0
    blind = control <= max(to_real, bias)
    wholeness = _ratio(distance(samples, shuffled_samples), control)
    lacking = wholeness < LEAST_WHOLENESS
    sentence = (
        f"By {network}, real images with shuffled patches have an FID of {control:.2f}, and the samples have "
        f"an FID of {to_real:.2f}"
    )
    if blind:
        sentence += ", so this FID does not show whether the shape of the samples is right"
    if lacking:
        sentence += (
            f"; shuffling moves the features of the samples only {100 * wholeness:.0f} % as far as those of "
            "real images, so many samples lack a global shape"
        )
    elif not blind:
        sentence += ": the network perceives global shape, and the shape of the samples is right"
    return PatchSensitivity(
        network=network,
        control_fid=control,
        samples_fid=to_real,
        share=_ratio(to_real, control),
        wholeness=wholeness,
        blind=blind,
        flagged=blind or lacking,
        sentence=f"{sentence}.",
    )


def network_agreement(first: PatchSensitivity, second: PatchSensitivity) -> NetworkAgreement:
    """Compares the results of two networks for the same samples."""
    shares = first.share, second.share
    near, far = sorted(shares)
    flagged = far >= FAR and far > DISAGREEMENT * near
    words = " and ".join(f"{100 * item.share:.0f} % by {item.network}" for item in (first, second))
    sentence = f"As a share of the control, the samples are {words} away from real images: "
    if flagged:
        blind = (first, second)[shares.index(near)].network
        sentence += f"the samples have a fault that {blind} cannot detect."
    else:
        sentence += "the two networks agree."
    return NetworkAgreement(first.network, second.network, *shares, flagged, sentence)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("inf")
