"""Mean and covariance of features that never stand in memory together.

Batches, parts and hosts are merged exactly (Chan, Golub, LeVeque 1979), in float64 on the host: sums of
squares in float32, or without the mean taken off first, lose the digits that the FID of good samples lives
on.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from biggan_jax.evaluation.scores.features import check_features
from biggan_jax.evaluation.scores.frechet import FeatureStatistics
from biggan_jax.runtime.errors import UserError

ROWS_AT_ONCE = 1024  # merged together: a merge passes over D² numbers, however few rows it adds


class Moments:
    """Collects the mean and covariance of f[N, D] from batches of any sizes.

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
        """Rows so far."""
        return self._count + sum(map(len, self._waiting))

    def update(self, features: ArrayLike) -> None:
        """Adds a batch of features f[n, D].

        Raises:
          UserError: one of them is not finite.
          ValueError: not a matrix, or of another width than those before.
        """
        # A copy: whoever calls may use the buffer again.
        features = np.array(check_features(features, "images", least=0), np.float64)
        width = self._width()
        if width is not None and width != features.shape[1]:
            raise ValueError(f"features of {features.shape[1]} numbers after features of {width}")
        self._waiting.append(features)
        if sum(map(len, self._waiting)) >= ROWS_AT_ONCE:
            self._settle()

    def merge(self, other: "Moments") -> None:
        """Adds all that `other` has seen; `other` stays as it is.

        Raises:
          ValueError: features of another width.
        """
        other._settle()
        self._settle()
        if self._count and other._count and len(self._mean) != len(other._mean):
            raise ValueError(f"features of {len(other._mean)} numbers after features of {len(self._mean)}")
        if other._count:
            self._add(other._count, other._mean, other._scatter)

    def statistics(self) -> FeatureStatistics:
        """Mean and unbiased covariance of all so far.

        Raises:
          UserError: fewer than two rows have no covariance.
        """
        self._settle()
        if self._count < 2:
            raise UserError(f"{self._count} images have no covariance: give 2 or more")
        return FeatureStatistics(self._mean.copy(), self._scatter / (self._count - 1), self._count)

    def pack(self) -> np.ndarray:
        """All of it as u32[n], to send to other hosts: JAX's gather would turn float64 into float32."""
        self._settle()
        upper = self._scatter[np.triu_indices(len(self._mean))]
        return np.concatenate([[float(self._count), float(len(self._mean))], self._mean, upper]).view(
            np.uint32
        )

    @classmethod
    def unpack(cls, packed: ArrayLike) -> "Moments":
        """What `pack` packed."""
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
    """The moments of all parts together, one of each host say; in their order, so all hosts get the same."""
    whole = Moments()
    for part in parts:
        whole.merge(part)
    return whole
