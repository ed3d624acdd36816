"""Within-class diversity: blind spot 4 of the Inception Score (Barratt & Sharma 2018, arXiv 1801.01973,
section 4), which one good image per class, repeated, takes for the best of samplers.

Two measures, each relative to real images of the class: the mean distance of two images' features, and the
Vendi score (Friedman & Dieng 2023, arXiv 2210.02410), the effective number of different images.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.special
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features, check_same_width

SHOWN = 10  # least diverse classes
# A class is poor in variety below this share of real images' distance. By Fashion-MNIST's classifier, 50 real
# images a class that were held out come to 0.80 to 1.2, one that is half one image repeated to 0.6 to 0.9…
LEAST_DISTANCE = 0.75
MOST_POOR = 0.05  # share of classes that chance may put there
LEAST_MEAN = 0.85  # …and the mean over classes to 0.96 to 1.04, or 0.7


@dataclasses.dataclass(frozen=True, eq=False)
class Diversity:
    """How samples of a class differ from each other, by class: f64[classes], NaN where a class has too few.

    Attributes:
      distance: mean distance of two samples' features.
      real_distance: of two real images'.
      ratio: the first over the second.
      vendi: Vendi score of as many samples as there are real images, or all samples if there are fewer…
      real_vendi: …and of as many real images; 1 is one image, repeated.
      mean_ratio: mean of `ratio` over classes.
      poor_classes: labels with a ratio below `LEAST_DISTANCE`.
      least: labels of the ten least diverse classes by `ratio`, the least first.
      flagged: samples are less diverse than real images, everywhere or in some classes.
      sentence: the same in words.
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
    """Measures each class's diversity.

    Args:
      real: features f[M, D].
      real_labels: i[M].
      samples: features f[N, D].
      labels: the classes that were asked for, i[N].
      classes: how many there are.
      seed: of the draw of equally many real images and samples for the Vendi score.

    Raises:
      UserError: features that are not finite.
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
            f"Two samples of a class differ by {100 * mean_ratio:.0f} % of what two real images do"
            + (
                f", in {len(poor)} of {len(known)} classes by less than {100 * LEAST_DISTANCE:.0f} %"
                * bool(len(poor))
            )
            + "."
        )
    else:
        sentence = "No class has two samples and two real images, so there is nothing to compare."
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
    """Mean Euclidean distance of two different rows of f[N, D]."""
    rows = np.array(features, np.float64)
    rows -= rows.mean(axis=0)
    squares = (rows**2).sum(axis=1)
    total = 0.0
    for start in range(0, len(rows), 1024):
        part = slice(start, start + 1024)
        squared = squares[part, None] + squares - 2 * rows[part] @ rows.T
        # What rounding leaves of the distance of equal rows would otherwise be its root, which is far larger.
        squared[squared < 1e-12 * squares.max()] = 0
        total += np.sqrt(squared).sum()
    return float(total / (len(rows) * (len(rows) - 1)))


def vendi(features: np.ndarray) -> float:
    """Vendi score of f[N, D]: exp of the entropy of the eigenvalues of K / N, with K the rows' cosine
    similarity.

    Between 1, all rows alike, and N, all orthogonal. A row of zeros is like no other.
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
