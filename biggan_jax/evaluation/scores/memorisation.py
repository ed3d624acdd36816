"""Are samples copies of training images? Blind spot 5 of the Inception Score (Barratt & Sharma 2018, arXiv
1801.01973, section 4), which training images by heart score best at.

Each sample's distance to the nearest training image is set against the same for real images that were held
out, as in the test of Meehan, Chaudhuri & Dasgupta (2020, arXiv 2004.05675): honest samples are as far away
as those. Distances are relative to how crowded it is there: where they did divide space into cells, here each
is divided by the distance from that training image to its own third-nearest, so that a sampler that prefers
crowded classes does not pass for a copyist.
"""

import dataclasses

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features, check_same_width
from biggan_jax.evaluation.scores.nearest import nearest

NEIGHBOUR = 3  # of the training image: images that occur up to three times don't make the space around them 0
CLOSEST = 0.01  # share of held-out images that are as near as a "suspicious" sample
NEAR = 0.5  # and at most this relative distance counts as suspicious
LEAST_SHARE = 0.05  # of samples, before the section is flagged…
ERRORS = 3.0  # …and by this many standard errors more than of the held-out images


@dataclasses.dataclass(frozen=True, eq=False)
class Memorisation:
    """How near samples come to training images.

    Attributes:
      closer: chance that a sample is nearer to the training images than a held-out real image: 0.5 if honest.
      z: the same as a test statistic, Mann–Whitney's U in standard deviations (the C_T of Meehan et al.):
        below -3, samples are nearer than chance allows. Samples that are merely more typical than real
        images, truncated ones say, are too.
      suspicious: share of samples that come nearer than all but a hundredth of the held-out images, and
        within half of a usual distance.
      expected: the same share of the held-out images.
      samples: numbers of the samples by relative distance, the most suspicious first: i64[N]…
      training: …and of the training image that each is nearest to: i64[N].
      relative: …and their relative distance, f64[N].
      flagged: more samples are suspicious than chance allows.
      sentence: the same in words.
    """

    closer: float
    z: float
    suspicious: float
    expected: float
    samples: np.ndarray
    training: np.ndarray
    relative: np.ndarray
    flagged: bool
    sentence: str


def memorisation(training: ArrayLike, samples: ArrayLike, held_out: ArrayLike) -> Memorisation:
    """Compares samples f[N, D] with training images f[T, D], beside real images f[M, D] that were held out.

    Raises:
      UserError: no more than three training images, no samples or no held-out images, or features that are
        not finite.
    """
    training = check_features(training, "training images", NEIGHBOUR + 1)
    samples, held_out = check_features(samples, "samples"), check_features(held_out, "held-out real images")
    check_same_width(training, samples)
    check_same_width(training, held_out)
    ours, numbers = _relative_distances(training, samples)
    theirs, _ = _relative_distances(training, held_out)
    closer, z = _mann_whitney(ours, theirs)
    threshold = min(np.quantile(theirs, CLOSEST, method="inverted_cdf"), NEAR)
    suspicious, expected = float((ours <= threshold).mean()), float((theirs <= threshold).mean())
    pooled = (np.concatenate([ours, theirs]) <= threshold).mean()
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(ours) + 1 / len(theirs)))
    flagged = bool(suspicious >= LEAST_SHARE and suspicious - expected > ERRORS * error)
    order = np.argsort(ours, kind="stable")
    sentence = (
        f"{100 * suspicious:.1f} % of the samples are suspiciously near to a training image, of real images "
        f"that were held out {100 * expected:.1f} %: "
        + ("samples are copied." if flagged else "no sign that samples are copied.")
    )
    return Memorisation(
        closer, z, suspicious, expected, order, numbers[order], ours[order], flagged, sentence
    )


def _relative_distances(training: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest training image over that one's to its third-nearest other; and its number."""
    distances, numbers = (found[:, 0] for found in nearest(images, training, 1))
    asked, place = np.unique(numbers, return_inverse=True)  # training sets are large: only where needed
    around = nearest(training[asked], training, NEIGHBOUR, own=asked)[0][:, -1][place]
    relative = np.where(distances > 0, np.inf, 0.0)  # if the training image occurs four times or more
    np.divide(distances, around, out=relative, where=around > 0)
    return relative, numbers


def _mann_whitney(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Chance that one of ours is below one of theirs (ties count half), and U in standard deviations."""
    n, m = len(ours), len(theirs)
    ranks = scipy.stats.rankdata(np.concatenate([ours, theirs]))
    above = ranks[:n].sum() - n * (n + 1) / 2  # pairs in which ours is the larger
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    variance = n * m / 12 * (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * max(1, n + m - 1)))
    z = (above - n * m / 2) / np.sqrt(variance) if variance > 0 else 0.0
    return float(1 - above / (n * m)), float(z)
