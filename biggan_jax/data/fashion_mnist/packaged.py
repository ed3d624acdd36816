"""Opens the 10,000 official test images of Fashion-MNIST, which this package contains, in two splits."""

from pathlib import Path

import numpy as np

from biggan_jax.data.fashion_mnist import SPLITS, padded_source, read_pair, refuse_impossible
from biggan_jax.data.records import MAX_REFUSED
from biggan_jax.data.source import ArraySource

NAME = "fashion_mnist_10k"
PACKAGED = Path(__file__).parent
TRAINING_EXAMPLES = 8_000


def open_split(
    argument: str, split: str, resolution: int, *, max_refused: float = MAX_REFUSED
) -> ArraySource:
    """Opens 8,000 of the official test images for training, or the other 2,000 to hold out.

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
    refuse_impossible(NAME, split, resolution)
    images, labels = read_pair(PACKAGED, "t10k")
    # The legacy generator has a frozen stream: the split must never change.
    order = np.random.RandomState(0).permutation(len(images))
    rows = np.split(order, [TRAINING_EXAMPLES])[SPLITS.index(split)]
    description = (
        f"Fashion-MNIST, the 10,000 official test images, which come with the package; {split}: {len(rows):,}"
    )
    return padded_source(NAME, description, images[rows], labels[rows])
