"""Nearest neighbours among features, block by block on the accelerator.

50,000 × 50,000 distances never stand in memory. Blocks are compared in float32 after the mean of the
references is subtracted. The distances of the neighbours are recomputed in float64, so that a copy is at
distance 0 exactly. `is_doubtful` marks the pairs whose order float32 cannot tell.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LARGEST_BLOCK = 4096  # rows: blocks of 4096 × 2048 features and 4096 × 4096 distances take 130 MB
AT_ONCE = 1 << 23  # numbers of pairs that are compared in float64 at once: 64 MB
SPARE = 4  # candidates beyond the k nearest: float32 may confuse equally near ones


class Block(NamedTuple):
    """Consecutive rows of a matrix, padded to the compiled size.

    Attributes:
      start: Index of the first row.
      count: Number of rows without the padding.
      rows: f32[size, D], zeros where padded.
      squares: |row|² as f32[size]; infinite where padded, and so is every distance to it.
    """

    start: int
    count: int
    rows: jax.Array
    squares: jax.Array


def blocks(features: np.ndarray, centre: np.ndarray) -> Iterator[Block]:
    """Yields blocks of one size of f[N, D] minus `centre` f[D]."""
    size = min(LARGEST_BLOCK, 1 << max(3, (len(features) - 1).bit_length()))
    for start in range(0, len(features), size):
        rows = np.asarray(features[start : start + size] - centre, np.float32)
        padding = (0, size - len(rows))
        squares = np.pad((rows**2).sum(axis=1), padding, constant_values=np.inf)
        yield Block(start, len(rows), jnp.asarray(np.pad(rows, (padding, (0, 0)))), jnp.asarray(squares))


def squared_distances(x: jax.Array, x_squares: jax.Array, y: jax.Array, y_squares: jax.Array) -> jax.Array:
    """Computes |x - y|² for all pairs: f32[n, m], infinite where either row is padding."""
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(x_squares[:, None] + y_squares - 2 * product, 0)


def is_doubtful(
    d2: jax.Array, squared_radii: jax.Array, x: jax.Array, x_squares: jax.Array, y_squares: jax.Array
) -> jax.Array:
    """Returns whether float32 cannot tell on which side of a radius each pair lies: bool[n, m].

    A squared distance is wrong by at most D ε (|x|² + |y|²) (Higham 2002, section 3.1, for the two sums of
    squares and the product).

    Args:
      d2: Squared distances f32[n, m].
      squared_radii: Squared radii that broadcast to f32[n, m].
      x: f32[n, D].
      x_squares: |x|² as f32[n].
      y_squares: |y|² as f32[m].
    """
    error = (x.shape[1] + 8) * jnp.finfo(jnp.float32).eps * (x_squares[:, None] + y_squares)
    return (abs(d2 - squared_radii) <= error) & jnp.isfinite(d2)


def exact_distances(x: np.ndarray, y: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Computes the distances between rows of f[N, D] and f[M, D] in float64.

    The distance of a pair has the same bits wherever it is computed and in whichever order the pair is given,
    so that equal distances compare as equal.

    Args:
      x: f[N, D]; may be a memory map.
      y: f[M, D]; may be a memory map.
      rows: Rows of x, i64[n].
      columns: Row of y for each, i64[n].

    Returns:
      f64[n].
    """
    distances, size = np.empty(len(rows)), max(1, AT_ONCE // max(1, x.shape[1]))
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        difference = np.float64(x[rows[part]]) - y[columns[part]]
        distances[part] = np.sqrt((difference**2).sum(axis=1))
    return distances


def nearest(
    queries: np.ndarray, references: np.ndarray, k: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest references of each query, nearest first.

    Args:
      queries: f[N, D].
      references: f[M, D]; may be a memory map.
      k: Number of neighbours.
      own: Index of each query among the references, i64[N], if queries are references; a reference is no
        neighbour of itself.

    Returns:
      Euclidean distances f64[N, k] and indices of references i64[N, k].

    Raises:
      ValueError: Fewer than k references.
    """
    others = len(references) - (own is not None)
    if others < k:
        raise ValueError(f"{k} nearest neighbours among {others} references")
    centre = _centre(references)
    numbers = np.empty((len(queries), k), int)
    for query in blocks(queries, centre):
        part = slice(query.start, query.start + query.count)
        itself = np.full(len(query.rows), -1)
        if own is not None:
            itself[: query.count] = own[part]
        best = jnp.full((len(query.rows), k), jnp.inf), jnp.full((len(query.rows), k), -1)
        for reference in blocks(references, centre):
            best = _nearer(query, reference, jnp.asarray(itself), best)
        numbers[part] = np.asarray(best[1])[: query.count]
    rows = np.repeat(np.arange(len(queries)), k)
    distances = exact_distances(queries, references, rows, numbers.ravel()).reshape(numbers.shape)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(numbers, order, axis=1)


def radii(features: np.ndarray, *ks: int) -> tuple[np.ndarray, ...]:
    """Returns the distance of each row of f[N, D] to its k-th nearest other row: f64[N] for each k.

    Raises:
      ValueError: Fewer than k other rows.
    """
    others = len(features) - 1
    candidates = max(max(ks), min(max(ks) + SPARE, others))
    distances, _ = nearest(features, features, candidates, own=np.arange(len(features)))
    return tuple(distances[:, k - 1] for k in ks)


def _centre(features: np.ndarray) -> np.ndarray:
    # A subset suffices: the centre only has to be near.
    return np.asarray(features[:: max(1, len(features) // 10_000)], np.float64).mean(axis=0)


@jax.jit
def _nearer(
    query: Block, reference: Block, own: jax.Array, best: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Updates `best`, squared distances and indices [n, k], with another block of references."""
    d2 = squared_distances(query.rows, query.squares, reference.rows, reference.squares)
    numbers = reference.start + jnp.arange(len(reference.rows))
    d2 = jnp.where(numbers == own[:, None], jnp.inf, d2)
    k = best[0].shape[1]
    here, column = jax.lax.top_k(-d2, min(k, d2.shape[1]))
    d2 = jnp.concatenate([best[0], -here], axis=1)
    numbers = jnp.concatenate([best[1], numbers[column]], axis=1)
    nearest, chosen = jax.lax.top_k(-d2, k)
    return -nearest, jnp.take_along_axis(numbers, chosen, axis=1)
