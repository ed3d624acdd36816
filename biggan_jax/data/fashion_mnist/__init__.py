"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): 28×28 grey garments, padded to 32×32 RGB.

This package contains its 10,000 test images (MIT licence, see LICENSE). A machine that has all 70,000 images
uses those.
"""

from pathlib import Path

import numpy as np

from biggan_jax.data import tfds_images
from biggan_jax.data.idx import read_idx
from biggan_jax.data.records import MAX_REFUSED
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

PACKAGED = Path(__file__).parent
PACKAGED_TRAINING_EXAMPLES = 8_000
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # folder of the package dataset-fashion-mnist


def open_split(
    argument: str, split: str, resolution: int, *, max_refused: float = MAX_REFUSED
) -> ArraySource:
    """Opens a split of the largest copy on this machine, without a download.

    The copies, in this order: Debian's dataset-fashion-mnist, a set that TFDS has prepared (both have 60,000
    and 10,000 images), and the 10,000 images of this package in a fixed random order (8,000 and 2,000).

    Args:
      argument: Unused: the name of this source takes no argument.
      split: "train" or "test".
      resolution: Pixels a side; must be 32.
      max_refused: Unused: all images are usable.

    Returns:
      The split, in memory.

    Raises:
      DataError: The split or resolution does not exist, or files are broken.
    """
    del argument, max_refused
    if split not in SPLITS:
        raise DataError(f"fashion_mnist has no split {split!r}: set data.split to one of {', '.join(SPLITS)}")
    if resolution != RESOLUTION:
        raise DataError(
            f"fashion_mnist comes in {STORED_RESOLUTION} px, padded to {RESOLUTION}, not in {resolution}: "
            f"set model.resolution={RESOLUTION}"
        )
    if (DEBIAN / "train-images-idx3-ubyte.gz").exists():
        images, labels = _read_pair(DEBIAN, {"train": "train", "test": "t10k"}[split])
        origin = f"all 70,000 images, from {DEBIAN}"
    elif tfds_images.is_prepared("fashion_mnist"):
        prepared = tfds_images.open_split("fashion_mnist", split, STORED_RESOLUTION)
        images, labels = prepared.images[..., 0], prepared.labels  # pyright: ignore[reportAttributeAccessIssue]
        origin = "all 70,000 images, from TensorFlow Datasets"
    else:
        images, labels = _read_pair(PACKAGED, "t10k")
        # The legacy generator has a frozen stream: the split must never change.
        order = np.random.RandomState(0).permutation(len(images))
        rows = np.split(order, [PACKAGED_TRAINING_EXAMPLES])[SPLITS.index(split)]
        images, labels = images[rows], labels[rows]
        origin = "the 10,000 images that come with the package"

    border = (RESOLUTION - STORED_RESOLUTION) // 2
    padded = np.pad(images, ((0, 0), (border, border), (border, border)))
    return ArraySource(
        name="fashion_mnist",
        description=f"Fashion-MNIST, {origin}; {split}: {len(images):,}",
        num_examples=len(images),
        class_names=CLASS_NAMES,
        resolution=RESOLUTION,
        images=np.repeat(padded[..., None], 3, axis=3),
        labels=labels.astype(np.int32),
    )


def _read_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images_path, labels_path = (folder / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    images = read_idx(images_path, (None, STORED_RESOLUTION, STORED_RESOLUTION))
    labels = read_idx(labels_path, (None,))
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} has {len(images):,} images, but {labels_path.name} has {len(labels):,} "
            "labels: download both files again"
        )
    return images, labels
