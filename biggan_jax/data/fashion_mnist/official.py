"""Opens all 70,000 images of Fashion-MNIST in the official splits, where Debian's package installed them."""

from pathlib import Path

from biggan_jax.data.fashion_mnist import padded_source, read_pair, refuse_impossible
from biggan_jax.data.records import MAX_REFUSED
from biggan_jax.data.source import ArraySource, DataError

NAME = "fashion_mnist_60k"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # folder of the package dataset-fashion-mnist
PARTS = {"train": "train", "test": "t10k"}


def open_split(
    argument: str, split: str, resolution: int, *, max_refused: float = MAX_REFUSED
) -> ArraySource:
    """Opens the 60,000 official training images, or the 10,000 official test images.

    Args:
      argument: Unused: the name of this source takes no argument.
      split: "train" or "test".
      resolution: Pixels a side; must be 32.
      max_refused: Unused: all images are usable.

    Returns:
      The split, in memory.

    Raises:
      DataError: The images are not installed, the split or resolution does not exist, or files are broken.
    """
    del argument, max_refused
    refuse_impossible(NAME, split, resolution)
    if not DEBIAN.is_dir():
        raise DataError(
            f"{NAME} reads {DEBIAN}, which does not exist: install Debian's dataset-fashion-mnist, or "
            "give tfds:fashion_mnist, which TensorFlow Datasets downloads, or fashion_mnist_10k, the "
            "official test images that come with this package"
        )
    images, labels = read_pair(DEBIAN, PARTS[split])
    description = (
        f"Fashion-MNIST, official {'training' if split == 'train' else 'test'} images, from {DEBIAN}; "
        f"{split}: {len(images):,}"
    )
    return padded_source(NAME, description, images, labels)
