"""The Inception Score: exp of the mutual information of image and predicted class, in ten splits.

Salimans et al. 2016, arXiv 1606.03498. As the field computes it: the samples are shuffled with NumPy's
RandomState(2020), as in torch-fidelity, and cut into ten consecutive splits. The score is the mean over the
splits, ± their standard deviation (divided by 10, not 9). Without the shuffle, samples in the order of their
classes would leave a tenth of the classes to each split, which limits its score. Fewer samples per split
score lower: the marginal of N samples has less entropy than the true marginal.
"""

import dataclasses

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

from biggan_jax.runtime.errors import UserError

SPLITS = 10
SHUFFLE_SEED = 2020
ROWS_AT_ONCE = 4096  # converted to float64 and probabilities together: 50,000 would take gigabytes


@dataclasses.dataclass(frozen=True)
class InceptionScore:
    """The Inception Score of a set of samples.

    Attributes:
      mean: Mean over the splits.
      std: Standard deviation over the splits.
      splits: Number of splits.
      count: Number of samples.
    """

    mean: float
    std: float
    splits: int
    count: int


class InceptionScoreSums:
    """Accumulates the score of `total` samples over batches and hosts, in splits × classes numbers.

    >>> sums = InceptionScoreSums(total=50_000)
    >>> sums.update(np.arange(start, start + len(logits)), logits)
    >>> sums.score()

    Args:
      total: Total number of samples.
      splits: Number of splits.
      shuffle_seed: Seed of the permutation that assigns samples to splits; None keeps their order.
    """

    def __init__(self, total: int, splits: int = SPLITS, shuffle_seed: int | None = SHUFFLE_SEED) -> None:
        if total < splits:
            raise UserError(f"{total} samples cannot be cut into {splits} splits: give at least {splits}")
        order = np.arange(total)
        if shuffle_seed is not None:
            order = np.random.RandomState(shuffle_seed).permutation(total)
        self._bounds = np.arange(splits + 1) * total // splits
        self._split = np.empty(total, int)
        self._split[order] = np.repeat(np.arange(splits), np.diff(self._bounds))
        self._counts = np.zeros(splits, int)
        self._entropy = np.zeros(splits)  # sum over samples
        self._probability: np.ndarray | None = None  # f64[splits, classes], sum over samples

    def update(self, indices: np.ndarray, logits: ArrayLike) -> None:
        """Adds the logits f[n, classes] of the samples with these indices i64[n].

        Raises:
          UserError: A logit is not finite.
        """
        logits = np.asarray(logits, np.float64)
        if not np.isfinite(logits).all():
            raise UserError(
                "the logits of some images are not finite: check these images and the weights of the "
                "feature network"
            )
        probability = scipy.special.softmax(logits, axis=1)
        entropy = -(probability * scipy.special.log_softmax(logits, axis=1)).sum(axis=1)
        if self._probability is None:
            self._probability = np.zeros((len(self._counts), logits.shape[1]))
        split = self._split[indices]
        np.add.at(self._counts, split, 1)
        np.add.at(self._entropy, split, entropy)
        for number in np.unique(split):
            self._probability[number] += probability[split == number].sum(axis=0)

    def merge(self, other: "InceptionScoreSums") -> None:
        """Adds the sums of `other`, which has the same total and splits, and other samples."""
        if not np.array_equal(self._split, other._split):
            raise ValueError("the sums differ in total, splits or shuffle")
        self._counts += other._counts
        self._entropy += other._entropy
        if self._probability is None:
            self._probability = other._probability
        elif other._probability is not None:
            self._probability = self._probability + other._probability

    def pack(self, classes: int) -> np.ndarray:
        """Returns the state as u32[n] for other hosts: JAX's gather would turn float64 into float32.

        Args:
          classes: Number of classes, which a host without samples does not know.
        """
        probability = self._probability
        if probability is None:
            probability = np.zeros((len(self._counts), classes))
        return np.concatenate([self._counts, self._entropy, probability.ravel()]).view(np.uint32)

    @classmethod
    def unpack(
        cls,
        packed: ArrayLike,
        total: int,
        splits: int = SPLITS,
        shuffle_seed: int | None = SHUFFLE_SEED,
    ) -> "InceptionScoreSums":
        """Restores the sums that `pack` packed.

        Args:
          packed: Output of `pack`.
          total: As in the constructor.
          splits: As in the constructor.
          shuffle_seed: As in the constructor.
        """
        numbers = np.ascontiguousarray(packed, np.uint32).view(np.float64)
        sums = cls(total, splits, shuffle_seed)
        sums._counts = numbers[:splits].astype(int)
        sums._entropy = numbers[splits : 2 * splits].copy()
        sums._probability = numbers[2 * splits :].reshape(splits, -1).copy()
        return sums

    def score(self) -> InceptionScore:
        """Computes the score.

        Raises:
          ValueError: A sample is missing or was added twice.
        """
        sizes = np.diff(self._bounds)
        if (self._counts != sizes).any():
            raise ValueError(f"got {self._counts.sum()} samples, {self._counts} per split, of {sizes.sum()}")
        marginal = self._probability / sizes[:, None]
        information = scipy.special.entr(marginal).sum(axis=1) - self._entropy / sizes
        scores = np.exp(information)
        return InceptionScore(float(scores.mean()), float(scores.std()), len(scores), int(sizes.sum()))


def inception_score(
    logits: ArrayLike, splits: int = SPLITS, shuffle_seed: int | None = SHUFFLE_SEED
) -> InceptionScore:
    """Computes the score from logits f[N, classes] in memory.

    Args:
      logits: Logits of the samples.
      splits: Number of splits.
      shuffle_seed: Seed of the permutation that assigns samples to splits; None keeps their order.

    Raises:
      UserError: Fewer samples than splits, or logits that are not finite.
    """
    logits = np.asarray(logits)
    sums = InceptionScoreSums(len(logits), splits, shuffle_seed)
    for start in range(0, len(logits), ROWS_AT_ONCE):
        part = logits[start : start + ROWS_AT_ONCE]
        sums.update(start + np.arange(len(part)), part)
    return sums.score()
