"""A data set that a classifier learns in seconds: a blob of a class's colour on noise, in random places."""

import numpy as np

from biggan_jax.evaluation.networks.classifier import ClassifierSettings

COLOURS = np.array([[230, 40, 40], [40, 220, 60], [60, 80, 240]])
SIZE = 16
SETTINGS = ClassifierSettings(widths=(8, 16), images_seen=2_000, batch_size=50)  # enough to learn it


def make_blobs(count: int, seed: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Images u8[count, size, size, 3] and labels i32[count] of three classes in turn."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % len(COLOURS)).astype(np.int32)
    images = random.integers(0, 120, (count, size, size, 3)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = random.integers(0, size // 2, 2)
        side = random.integers(size // 4, size // 2)
        image[row : row + side, column : column + side] = COLOURS[label] - random.integers(0, 30)
    return images, labels
