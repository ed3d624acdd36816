"""Share of samples that a classifier recognises as the requested class."""

import numpy as np


def confusion(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Counts the images of requested class i that the classifier assigns to class j.

    Args:
      labels: Requested classes, i32[N].
      logits: Logits of the classifier, f32[N, classes].

    Returns:
      i64[classes, classes]: A row per requested class, a column per predicted class.

    Raises:
      ValueError: A label outside the classes, or different numbers of labels and rows.
    """
    classes = logits.shape[1]
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"{len(labels)} labels for {len(logits)} rows of logits")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}, but the classifier knows 0 to {classes - 1}"
        )
    cells = labels.astype(np.int64) * classes + logits.argmax(axis=1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def recognised(counts: np.ndarray) -> float:
    """Returns the share of images recognised as the requested class, from the counts of `confusion`."""
    return float(np.trace(counts) / counts.sum()) if counts.any() else float("nan")


def recognised_by_class(counts: np.ndarray) -> np.ndarray:
    """Returns the same share for each class: f64[classes], NaN for a class without images."""
    images = counts.sum(axis=1)
    shares = np.full(len(counts), np.nan)
    np.divide(np.diagonal(counts), images, out=shares, where=images > 0)
    return shares
