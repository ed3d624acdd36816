"""Mean and covariance of features, computed without holding all features in memory.

Batches, parts and hosts are merged exactly (Chan, Golub, LeVeque 1979), in float64 on the host. Sums of
squares in float32, or without subtracting the mean first, lose the digits that decide the FID of good
samples.
"""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features
from biggan_jax.runtime.errors import UserError

ROWS_AT_ONCE = 1024  # merged together: a merge passes over D² numbers, however few rows it adds
ROWS_OF_AN_ARRAY = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Mean and covariance of the features of a set of images.

    Attributes:
      mean: f64[D].
      covariance: f64[D, D], divided by N - 1 as everywhere in the field.
      count: Number of images; None where a file does not state it.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None = None

    @property
    def too_few(self) -> bool:
        """Whether the images are too few for a covariance of full rank: N - 1 < D."""
        return self.count is not None and self.count <= len(self.mean)

    @functools.cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues f64[D], clipped at 0, and eigenvectors f64[D, D] of the covariance."""
        values, vectors = scipy.linalg.eigh(self.covariance, driver="evd")
        return values.clip(min=0), vectors


class Moments:
    """Accumulates the mean and covariance of f[N, D] over batches of any sizes.

    >>> moments = Moments()
    >>> for batch in batches:
    ...     moments.update(network(batch))
    >>> moments.statistics()
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = np.zeros(0)
        self._scatter = np.zeros((0, 0))  # Σ (x - mean)(x - mean)ᵀ
        self._waiting: list[np.ndarray] = []

    @property
    def count(self) -> int:
        """Number of rows so far."""
        return self._count + sum(map(len, self._waiting))

    def update(self, features: ArrayLike) -> None:
        """Adds a batch of features f[n, D].

        Raises:
          UserError: A feature is not finite.
          ValueError: `features` is not a matrix, or differs in width from earlier batches.
        """
        # A copy: the caller may reuse the buffer.
        features = np.array(check_features(features, "images", least=0), np.float64)
        width = self._width()
        if width is not None and width != features.shape[1]:
            raise ValueError(f"features of {features.shape[1]} numbers after features of {width}")
        self._waiting.append(features)
        if sum(map(len, self._waiting)) >= ROWS_AT_ONCE:
            self._settle()

    def merge(self, other: "Moments") -> None:
        """Adds the rows of `other`, which keeps them.

        Raises:
          ValueError: The features of `other` differ in width.
        """
        other._settle()
        self._settle()
        if self._count and other._count and len(self._mean) != len(other._mean):
            raise ValueError(f"features of {len(other._mean)} numbers after features of {len(self._mean)}")
        if other._count:
            self._add(other._count, other._mean, other._scatter)

    def statistics(self) -> FeatureStatistics:
        """Returns the mean and the unbiased covariance of all rows so far.

        Raises:
          UserError: Fewer than two rows.
        """
        self._settle()
        if self._count < 2:
            raise UserError(f"a covariance needs at least 2 images, got {self._count}: give more")
        return FeatureStatistics(self._mean.copy(), self._scatter / (self._count - 1), self._count)

    def pack(self) -> np.ndarray:
        """Returns the state as u32[n] for other hosts: JAX's gather would turn float64 into float32."""
        self._settle()
        upper = self._scatter[np.triu_indices(len(self._mean))]
        return np.concatenate([[float(self._count), float(len(self._mean))], self._mean, upper]).view(
            np.uint32
        )

    @classmethod
    def unpack(cls, packed: ArrayLike) -> "Moments":
        """Restores the moments that `pack` packed."""
        numbers = np.ascontiguousarray(packed, np.uint32).view(np.float64)
        moments, width = cls(), int(numbers[1])
        moments._count = int(numbers[0])
        moments._mean = numbers[2 : 2 + width].copy()
        scatter = np.zeros((width, width))
        scatter[np.triu_indices(width)] = numbers[2 + width :]
        moments._scatter = scatter + np.triu(scatter, 1).T
        return moments

    def _width(self) -> int | None:
        if self._waiting:
            return self._waiting[0].shape[1]
        return len(self._mean) if self._count else None

    def _settle(self) -> None:
        if self._waiting:
            rows = np.concatenate(self._waiting)
            self._waiting = []
            if len(rows):
                mean = rows.mean(axis=0)
                rows -= mean
                self._add(len(rows), mean, rows.T @ rows)

    def _add(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if not self._count:
            self._count, self._mean, self._scatter = count, mean.copy(), scatter.copy()
            return
        total = self._count + count
        step = mean - self._mean
        self._scatter += scatter
        self._scatter += np.outer(step, step * (self._count * count / total))
        self._mean = self._mean + step * (count / total)
        self._count = total


def merged(parts: Iterable[Moments]) -> Moments:
    """Merges the moments of all parts in their order, so that every host gets the same result."""
    whole = Moments()
    for part in parts:
        whole.merge(part)
    return whole


def feature_statistics(features: np.ndarray) -> FeatureStatistics:
    """Returns the mean and covariance of features f[N, D] that are in memory."""
    moments = Moments()
    for start in range(0, len(features), ROWS_OF_AN_ARRAY):
        moments.update(features[start : start + ROWS_OF_AN_ARRAY])
    return moments.statistics()
