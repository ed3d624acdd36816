"""Two things a class-conditional generator must do, measured with a classifier: draw the class that was asked
for, and draw it in more than one way (the second is blind spot 4 of the Inception Score, which rewards one
perfect image per class; Barratt & Sharma 2018, section 4).
"""

import numpy as np
from scipy.spatial.distance import pdist


def confusion(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Counts the images of class i that were taken for class j.

    Args:
      labels: i32[N], the classes asked for.
      logits: f32[N, classes], the classifier's.

    Returns:
      i64[classes, classes]: a row for the class asked for, a column for the class recognised.

    Raises:
      ValueError: a label without a logit, or another number of labels than of rows.
    """
    classes = logits.shape[1]
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"{len(labels)} labels for {len(logits)} rows of logits")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()}, but the classifier knows 0 to {classes - 1}"
        )
    cells = labels.astype(np.int64) * classes + logits.argmax(axis=1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def recognised(counts: np.ndarray) -> float:
    """Share of all images that were taken for the class asked for; `counts` is of `confusion`."""
    return float(np.trace(counts) / counts.sum()) if counts.any() else float("nan")


def recognised_by_class(counts: np.ndarray) -> np.ndarray:
    """The same for each class: f64[classes], not-a-number for a class with no images."""
    return _ratio(np.diagonal(counts), counts.sum(axis=1))


def spread(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean Euclidean distance between the features of two images of a class.

    Args:
      features: f32[N, D].
      labels: i32[N].
      classes: how many there are.

    Returns:
      f64[classes]; not-a-number for a class with fewer than two images.
    """
    groups = (features[labels == label].astype(np.float64) for label in range(classes))
    return np.array([pdist(group).mean() if len(group) > 1 else np.nan for group in groups])


def diversity_by_class(sample_spread: np.ndarray, real_spread: np.ndarray) -> np.ndarray:
    """The samples' spread in units of real images': f64[classes].

    1 is as varied as real images of the class; near 0 is one image repeated. Samples that are taken for many
    classes spread too, so it says something only beside a high share of recognised ones. Not-a-number where
    there are too few images, or where the real ones don't vary.
    """
    return _ratio(sample_spread, real_spread)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    result = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
