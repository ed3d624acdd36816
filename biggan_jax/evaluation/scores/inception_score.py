"""The Inception Score (Salimans et al. 2016, arXiv 1606.03498): exp of the mutual information of image and
predicted class, in ten splits.

As the field computes it: the samples are shuffled with NumPy's RandomState(2020), as torch-fidelity does, and
cut into ten consecutive splits; the score is the mean of the splits' scores, ± their standard deviation
(divided by 10, not 9). Without the shuffle, samples that come class by class would leave a tenth of the
classes to a split, which could then score no more than that. Fewer samples in a split score lower: the
marginal of N samples has less entropy than the true one.
"""

import dataclasses

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

from biggan_jax.runtime.errors import UserError

SPLITS = 10
SHUFFLE_SEED = 2020
ROWS_AT_ONCE = 4096  # turned into float64 and probabilities: of 50,000 they would take gigabytes


@dataclasses.dataclass(frozen=True)
class InceptionScore:
    """The mean of the splits' scores, their standard deviation, how many splits, and of how many samples."""

    mean: float
    std: float
    splits: int
    count: int


class InceptionScoreSums:
    """Collects the score of `total` samples from batches, on one host or several: splits × classes numbers.

    >>> sums = InceptionScoreSums(total=50_000)
    >>> sums.update(np.arange(start, start + len(logits)), logits)
    >>> sums.score()

    Args:
      total: how many samples there will be.
      splits: how many scores are averaged.
      shuffle_seed: of the permutation that deals samples out to splits; None deals them out as they come.
    """

    def __init__(self, total: int, splits: int = SPLITS, shuffle_seed: int | None = SHUFFLE_SEED) -> None:
        if total < splits:
            raise UserError(f"{total} samples cannot be cut into {splits} splits: give {splits} or more")
        order = np.arange(total)
        if shuffle_seed is not None:
            order = np.random.RandomState(shuffle_seed).permutation(total)
        self._bounds = np.arange(splits + 1) * total // splits
        self._split = np.empty(total, int)
        self._split[order] = np.repeat(np.arange(splits), np.diff(self._bounds))
        self._seen = np.zeros(splits, int)
        self._entropy = np.zeros(splits)  # summed over samples
        self._probability: np.ndarray | None = None  # f64[splits, classes], likewise

    def update(self, indices: np.ndarray, logits: ArrayLike) -> None:
        """Adds the logits f[n, classes] of the samples number `indices: i64[n]` of all.

        Raises:
          UserError: logits that are not finite.
        """
        logits = np.asarray(logits, np.float64)
        if not np.isfinite(logits).all():
            raise UserError(
                "the logits of some images are not finite: look at the images and at the network's weights"
            )
        probability = scipy.special.softmax(logits, axis=1)
        entropy = -(probability * scipy.special.log_softmax(logits, axis=1)).sum(axis=1)
        if self._probability is None:
            self._probability = np.zeros((len(self._seen), logits.shape[1]))
        split = self._split[indices]
        np.add.at(self._seen, split, 1)
        np.add.at(self._entropy, split, entropy)
        for number in np.unique(split):
            self._probability[number] += probability[split == number].sum(axis=0)

    def merge(self, other: "InceptionScoreSums") -> None:
        """Adds what `other`, of the same total and splits, has seen of the other samples."""
        if not np.array_equal(self._split, other._split):
            raise ValueError("sums of other totals, splits or shuffles")
        self._seen += other._seen
        self._entropy += other._entropy
        if self._probability is None:
            self._probability = other._probability
        elif other._probability is not None:
            self._probability = self._probability + other._probability

    def pack(self, classes: int) -> np.ndarray:
        """All of it as u32[n], to send to other hosts: JAX's gather would turn float64 into float32.

        Args:
          classes: of the logits, which a host that has seen none does not know.
        """
        probability = self._probability
        if probability is None:
            probability = np.zeros((len(self._seen), classes))
        return np.concatenate([self._seen, self._entropy, probability.ravel()]).view(np.uint32)

    @classmethod
    def unpack(
        cls,
        packed: ArrayLike,
        total: int,
        splits: int = SPLITS,
        shuffle_seed: int | None = SHUFFLE_SEED,
    ) -> "InceptionScoreSums":
        """What `pack` packed; the other arguments are those it was made with."""
        numbers = np.ascontiguousarray(packed, np.uint32).view(np.float64)
        sums = cls(total, splits, shuffle_seed)
        sums._seen = numbers[:splits].astype(int)
        sums._entropy = numbers[splits : 2 * splits].copy()
        sums._probability = numbers[2 * splits :].reshape(splits, -1).copy()
        return sums

    def score(self) -> InceptionScore:
        """The score.

        Raises:
          ValueError: samples are missing, or came twice.
        """
        sizes = np.diff(self._bounds)
        if (self._seen != sizes).any():
            raise ValueError(f"saw {self._seen.sum()} samples, {self._seen} a split, of {sizes.sum()}")
        marginal = self._probability / sizes[:, None]
        information = scipy.special.entr(marginal).sum(axis=1) - self._entropy / sizes
        scores = np.exp(information)
        return InceptionScore(float(scores.mean()), float(scores.std()), len(scores), int(sizes.sum()))


def inception_score(
    logits: ArrayLike, splits: int = SPLITS, shuffle_seed: int | None = SHUFFLE_SEED
) -> InceptionScore:
    """The score of samples with these logits f[N, classes], all at once.

    Raises:
      UserError: fewer samples than splits, or logits that are not finite.
    """
    logits = np.asarray(logits)
    sums = InceptionScoreSums(len(logits), splits, shuffle_seed)
    for start in range(0, len(logits), ROWS_AT_ONCE):
        part = logits[start : start + ROWS_AT_ONCE]
        sums.update(start + np.arange(len(part)), part)
    return sums.score()
