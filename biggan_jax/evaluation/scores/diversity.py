"""Within-class diversity: blind spot 4 of the Inception Score.

One good image per class, repeated, has the highest IS (Barratt & Sharma 2018, arXiv 1801.01973, section 4).
Two measures, each relative to real images of the class, detect this: the mean distance between the features
of two images, and the Vendi score (Friedman & Dieng 2023, arXiv 2210.02410), the effective number of
different images.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.special
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features, check_same_width

SHOWN = 10  # least diverse classes that are listed
# A class lacks diversity below this share of the mean distance between real images. By Fashion-MNIST's
# classifier, 50 held-out images per class reach 0.80 to 1.2. Classes of which half is one repeated image
# reach 0.6 to 0.9…
LEAST_DISTANCE = 0.75
MOST_POOR = 0.05  # share of classes that may be below by chance
LEAST_MEAN = 0.85  # …and their means over the classes are 0.96 to 1.04, and 0.7


@dataclasses.dataclass(frozen=True, eq=False)
class Diversity:
    """The diversity of each class. Arrays are f64[classes], NaN for a class with too few images.

    Attributes:
      distance: Mean distance between the features of two samples.
      real_distance: Mean distance between the features of two real images.
      ratio: `distance` / `real_distance`.
      vendi: Vendi score of the samples, of equally many samples and real images; 1 is one repeated image.
      real_vendi: Vendi score of the real images.
      mean_ratio: Mean of `ratio` over the classes.
      poor_classes: Labels with a ratio below `LEAST_DISTANCE`.
      least: Labels of the ten least diverse classes by `ratio`, the least diverse first.
      flagged: Whether samples are less diverse than real images, in all or in some classes.
      sentence: The same in words.
    """

    distance: np.ndarray
    real_distance: np.ndarray
    ratio: np.ndarray
    vendi: np.ndarray
    real_vendi: np.ndarray
    mean_ratio: float
    poor_classes: tuple[int, ...]
    least: tuple[int, ...]
    flagged: bool
    sentence: str


def diversity(
    real: ArrayLike,
    real_labels: np.ndarray,
    samples: ArrayLike,
    labels: np.ndarray,
    classes: int,
    seed: int = 0,
) -> Diversity:
    """Measures the diversity of each class.

    Args:
      real: Features of real images, f[M, D].
      real_labels: Labels of real images, i[M].
      samples: Features of samples, f[N, D].
      labels: Requested classes, i[N].
      classes: Number of classes.
      seed: Seed of the choice of equally many real images and samples for the Vendi score.

    Raises:
      UserError: A feature is not finite.
    """
    real, samples = check_features(real, "real images", 0), check_features(samples, "samples", 0)
    check_same_width(real, samples)
    random = np.random.default_rng(seed)
    numbers = np.full((4, classes), np.nan)
    for label in range(classes):
        pair = [samples[labels == label], real[real_labels == label]]
        count = min(map(len, pair))
        if count >= 2:
            numbers[:2, label] = [mean_distance(part) for part in pair]
            numbers[2:, label] = [vendi(random.permutation(part)[:count]) for part in pair]
    distance, real_distance, samples_vendi, real_vendi = numbers
    ratio = np.full(classes, np.nan)
    np.divide(distance, real_distance, out=ratio, where=real_distance > 0)
    known = np.flatnonzero(np.isfinite(ratio))
    poor = np.flatnonzero(ratio < LEAST_DISTANCE)
    mean_ratio = float(ratio[known].mean()) if len(known) else float("nan")
    flagged = mean_ratio < LEAST_MEAN or len(poor) > MOST_POOR * len(known)
    if len(known):
        sentence = (
            f"The mean distance between two samples of a class is {100 * mean_ratio:.0f} % of that between "
            "two real images"
            + (
                f", and below {100 * LEAST_DISTANCE:.0f} % in {len(poor)} of {len(known)} classes"
                * bool(len(poor))
            )
            + "."
        )
    else:
        sentence = "No class has two samples and two real images, so diversity cannot be compared."
    return Diversity(
        distance=distance,
        real_distance=real_distance,
        ratio=ratio,
        vendi=samples_vendi,
        real_vendi=real_vendi,
        mean_ratio=mean_ratio,
        poor_classes=tuple(poor.tolist()),
        least=tuple(known[np.argsort(ratio[known], kind="stable")][:SHOWN].tolist()),
        flagged=flagged,
        sentence=sentence,
    )


def mean_distance(features: np.ndarray) -> float:
    """Computes the mean Euclidean distance between two different rows of f[N, D]."""
    rows = np.array(features, np.float64)
    rows -= rows.mean(axis=0)
    squares = (rows**2).sum(axis=1)
    total = 0.0
    for start in range(0, len(rows), 1024):
        part = slice(start, start + 1024)
        squared = squares[part, None] + squares - 2 * rows[part] @ rows.T
        # Equal rows have a rounding error here, whose root would be far larger.
        squared[squared < 1e-12 * squares.max()] = 0
        total += np.sqrt(squared).sum()
    return float(total / (len(rows) * (len(rows) - 1)))


def vendi(features: np.ndarray) -> float:
    """Computes the Vendi score of f[N, D]: exp of the entropy of the eigenvalues of K / N.

    K holds the cosine similarities of the rows. The score lies between 1 (all rows alike) and N (all rows
    orthogonal). A row of zeros is unlike every other row.
    """
    rows = np.float64(features)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    zeros = int((lengths == 0).sum())
    smaller = (
        rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    )  # the same eigenvalues but for 0s
    eigenvalues = scipy.linalg.eigvalsh(smaller / len(rows)).clip(min=0)
    return float(np.exp(scipy.special.entr(eigenvalues).sum() + zeros * scipy.special.entr(1 / len(rows))))
