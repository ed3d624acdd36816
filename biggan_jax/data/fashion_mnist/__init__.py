"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): 28×28 grey garments, padded to 32×32 RGB.

Two sources share the reading and padding here. `packaged.py` opens the 10,000 official test images, which
this package contains (MIT licence, see LICENSE). `official.py` opens the 60,000 official training images
where they are installed. Neither ever stands in for the other.
"""

from pathlib import Path

import numpy as np

from biggan_jax.data.idx import read_idx
from biggan_jax.data.source import ArraySource, DataError

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SPLITS = ("train", "test")
STORED_RESOLUTION = 28
RESOLUTION = 32


def refuse_impossible(name: str, split: str, resolution: int) -> None:
    """Raises `DataError` for a split or a resolution that the source `name` does not have."""
    if split not in SPLITS:
        raise DataError(f"{name} has no split {split!r}: set data.split to one of {', '.join(SPLITS)}")
    if resolution != RESOLUTION:
        raise DataError(
            f"{name} comes in {STORED_RESOLUTION} px, padded to {RESOLUTION}, not in {resolution}: "
            f"set model.resolution={RESOLUTION}"
        )


def read_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the images and labels of one official part.

    Args:
      folder: Folder of the idx files.
      part: "train" or "t10k", as the files' names begin.

    Returns:
      Images u8[N, 28, 28] and labels u8[N].

    Raises:
      DataError: A file is missing or damaged, or the numbers of images and labels differ.
    """
    images_path, labels_path = (folder / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    images = read_idx(images_path, (None, STORED_RESOLUTION, STORED_RESOLUTION))
    labels = read_idx(labels_path, (None,))
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} has {len(images):,} images, but {labels_path.name} has {len(labels):,} "
            "labels: download both files again"
        )
    return images, labels


def padded_source(name: str, description: str, images: np.ndarray, labels: np.ndarray) -> ArraySource:
    """Returns a source of the images with a black border and three equal channels.

    Args:
      name: Name of the source.
      description: Description of the split.
      images: u8[N, 28, 28].
      labels: u8[N].
    """
    border = (RESOLUTION - STORED_RESOLUTION) // 2
    padded = np.pad(images, ((0, 0), (border, border), (border, border)))
    return ArraySource(
        name=name,
        description=description,
        num_examples=len(images),
        class_names=CLASS_NAMES,
        resolution=RESOLUTION,
        images=np.repeat(padded[..., None], 3, axis=3),
        labels=labels.astype(np.int32),
    )
