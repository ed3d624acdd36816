"""What the features do not see: blind spot 3 of the Inception Score (Barratt & Sharma 2018, arXiv 1801.01973,
section 4), which lets two heads or a wrong global shape go unpunished.

The control is real images cut into patches that change places: each patch is right, the whole is not. How far
that moves the features says how much a network notices of the whole; how far it moves the features of the
samples, beside that, whether they have a whole that shuffling could destroy.
"""

import dataclasses

import numpy as np

from biggan_jax.evaluation.scores.frechet import FeatureStatistics, distance, expected_bias

GRID = 4  # patches a side
THUMBNAIL = 8  # pixels a side: two for each patch

# Shuffling must move the samples' features at least this far, as a share of how far it moves real images'.
# By Fashion-MNIST's classifier and by thumbnails, 500 real images that were held out come to 0.89 to 1.13,
# with every other one shuffled to 0.24 to 0.44.
LEAST_WHOLE = 0.7
# Two networks disagree if one finds the samples at least this far from real images (the control being 1)…
FAR = 0.25
# …and the other at most a third as far.
DISAGREEMENT = 3.0


@dataclasses.dataclass(frozen=True)
class PatchSensitivity:
    """What a network notices of the shape of images, and of the samples' shape.

    Attributes:
      network: its name.
      control_fid: of real images with shuffled patches to themselves whole.
      samples_fid: of the samples to real images.
      share: the second over the first: 1 is as far from real images as the control.
      wholeness: how far shuffling moves the samples' features, as a share of `control_fid`.
      blind: the samples' FID is no smaller than the control's, or the control's is within what perfect
        samples get for being finitely many: then FID under this network says nothing about shape.
      flagged: the network is blind, or the samples lack a whole.
      sentence: the same in words.
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
    """Whether two networks agree on how far samples are from real images, as shares of their own controls."""

    first: str
    second: str
    first_share: float
    second_share: float
    flagged: bool
    sentence: str


def shuffle_patches(images: np.ndarray, grid: int = GRID, seed: int = 0, start: int = 0) -> np.ndarray:
    """Images whose patches have changed places, every one of them, in another way for each image.

    Args:
      images: u8[N, H, W, 3].
      grid: patches a side; divides H and W.
      seed: of the orders.
      start: number of the first image: batches of a set come out as the whole set would.

    Raises:
      ValueError: images that cannot be cut into patches of one size.
    """
    n, height, width, channels = images.shape
    if height % grid or width % grid:
        raise ValueError(f"{height} × {width} pixels cannot be cut into {grid} × {grid} patches")
    cut = (n, grid, height // grid, grid, width // grid, channels)
    patches = images.reshape(cut).swapaxes(2, 3).reshape(n, grid**2, height * width * channels // grid**2)
    places = np.empty((n, grid * grid), int)
    for number in range(n):
        order = np.random.default_rng((seed, start + number)).permutation(grid * grid)
        places[number, order] = np.roll(order, 1)  # one cycle through all: nothing stays where it was
    patches = np.take_along_axis(patches, places[:, :, None], axis=1)
    cut = (n, grid, grid, height // grid, width // grid, channels)
    return patches.reshape(cut).swapaxes(2, 3).reshape(images.shape)


def thumbnails(images: np.ndarray, size: int = THUMBNAIL) -> np.ndarray:
    """Features of another kind than a network's, f32[N, size² · 3]: the image at `size` × `size` pixels, in
    [0, 1].

    They see layout and nothing else, so they make a second "network" that needs no weights.

    Raises:
      ValueError: images of a size that `size` does not divide.
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
    """Judges shape by one network's statistics of four sets: real images and samples, whole and shuffled."""
    control, found = distance(real, shuffled_real), distance(real, samples)
    bias = expected_bias(real.spectrum[0], samples.count, real.count) if samples.count else 0.0
    blind = control <= max(found, bias)
    wholeness = _ratio(distance(samples, shuffled_samples), control)
    lacking = wholeness < LEAST_WHOLE
    sentence = (
        f"By {network}, real images with shuffled patches have an FID of {control:.2f}, the samples one of "
        f"{found:.2f}"
    )
    if blind:
        sentence += ", so this FID does not tell whether the samples' shape is right"
    if lacking:
        sentence += (
            f"; shuffling moves the samples' features only {100 * wholeness:.0f} % as far as real images', "
            "so many samples lack a whole that it could destroy"
        )
    elif not blind:
        sentence += ": it would notice a wrong whole, and the samples have one"
    return PatchSensitivity(
        network=network,
        control_fid=control,
        samples_fid=found,
        share=_ratio(found, control),
        wholeness=wholeness,
        blind=blind,
        flagged=blind or lacking,
        sentence=f"{sentence}.",
    )


def network_agreement(first: PatchSensitivity, second: PatchSensitivity) -> NetworkAgreement:
    """Compares two networks' verdicts on the same samples, such as the feature network's and thumbnails'."""
    shares = first.share, second.share
    near, far = sorted(shares)
    flagged = far >= FAR and far > DISAGREEMENT * near
    words = " and ".join(f"{100 * item.share:.0f} % by {item.network}" for item in (first, second))
    sentence = f"The samples are {words} as far from real images as images with shuffled patches are: "
    if flagged:
        blind = (first, second)[shares.index(near)].network
        sentence += f"something is wrong with them that cannot be seen by {blind}."
    else:
        sentence += "the two agree."
    return NetworkAgreement(first.network, second.network, *shares, flagged, sentence)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("inf")
