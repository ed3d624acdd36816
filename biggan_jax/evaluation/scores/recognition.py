"""Does a class-conditional generator draw the class that was asked for? A classifier says what it sees."""

import numpy as np


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
    images = counts.sum(axis=1)
    found = np.full(len(counts), np.nan)
    np.divide(np.diagonal(counts), images, out=found, where=images > 0)
    return found
