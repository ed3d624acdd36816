"""Resizes by area as Pillow's BOX filter does, from pixels or from means of several pixels.

Brock et al. 2019 (arXiv 1809.11096) resize ImageNet by area. This has two readings: a pixel counts in each
area by its overlap, or only in the area that holds its centre. They agree at integer factors. Pillow's BOX
filter uses the second, and one line of Pillow verifies a result.
"""

import functools

import numpy as np
import scipy.sparse

MAX_PIXELS_SUMMED = 16  # a side: 16 · 16 · 255 fits into 16 bits


def box_resize(
    pixels: np.ndarray, square: tuple[int, int, int], resolution: int, ratio: int = 1
) -> np.ndarray:
    """Resizes a square: each new pixel is the rounded mean of the pixels whose centres lie in its area.

    Args:
      pixels: u8[H, W, 3]. With a ratio above 1, each is the mean of `ratio` × `ratio` pixels of the picture.
        Their values are then estimated, with the same mean and the slope between the neighbours.
      square: Left, top and side of the square, in pixels of the whole picture.
      resolution: Pixels a side of the result.
      ratio: Pixels of the picture for one of `pixels`, a side.

    Returns:
      u8[resolution, resolution, 3].
    """
    left, top, side = square
    (y, bottom), (x, right) = (
        _span(start, side, size, ratio) for start, size in ((top, pixels.shape[0]), (left, pixels.shape[1]))
    )
    down = _sums(top - y * ratio, side, bottom - y, resolution, ratio)
    across = _sums(left - x * ratio, side, right - x, resolution, ratio, channels=3)
    lines = pixels[y:bottom, x:right].astype(down.dtype).reshape(bottom - y, -1)
    sums = across @ (down @ lines).T
    means = sums.reshape(resolution, 3, resolution) / _counts(side, resolution)
    np.rint(means, out=means)
    if ratio > 1:  # an estimate can exceed black and white
        np.clip(means, 0, 255, out=means)
    return np.ascontiguousarray(means.astype(np.uint8).transpose(2, 0, 1))


def _span(start: int, side: int, size: int, ratio: int) -> tuple[int, int]:
    """Returns the range of pixels that contribute, as the first one and the one after the last."""
    neighbour = ratio > 1
    return max(0, start // ratio - neighbour), min(size, -(-(start + side) // ratio) + neighbour)


def _areas(side: int, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first pixel of each area and the one after the last, with Pillow's arithmetic at ties."""
    scale = side / resolution
    centers, half = (np.arange(resolution) + 0.5) * scale, 0.5 * max(1.0, scale)
    first = np.maximum(centers - half + 0.5, 0).astype(int)
    return first, np.minimum(centers + half + 0.5, side).astype(int)


@functools.lru_cache(maxsize=1024)
def _counts(side: int, resolution: int) -> np.ndarray:
    """Returns the number of pixels in each area, f32[resolution, 1, resolution]."""
    first, last = _areas(side, resolution)
    return np.multiply.outer(last - first, last - first).astype(np.float32)[:, None]


@functools.lru_cache(maxsize=1024)
def _sums(
    start: int, side: int, size: int, resolution: int, ratio: int, channels: int = 1
) -> scipy.sparse.csr_matrix:
    """Returns the matrix [resolution · channels, size · channels] that sums each area by channel."""
    first, last = (edges + start for edges in _areas(side, resolution))
    ends = np.cumsum(last - first)
    indices = np.arange(ends[-1]) + np.repeat(last - ends, last - first)
    integers = ratio == 1 and side <= MAX_PIXELS_SUMMED * resolution
    values = np.ones(len(indices), np.uint16 if integers else np.float32)
    sums = scipy.sparse.csr_matrix((values, indices, [0, *ends]), (resolution, size * ratio))
    if ratio > 1:
        sums = sums @ _estimates(size, ratio)
    return scipy.sparse.kron(sums, scipy.sparse.eye(channels, dtype=values.dtype), format="csr")  # pyright: ignore[reportReturnType, reportArgumentType]


def _estimates(size: int, ratio: int) -> scipy.sparse.csr_matrix:
    """Returns the matrix f32[size · ratio, size] that estimates pixels from means of `ratio` pixels."""
    pixels = np.arange(size * ratio)
    means = pixels // ratio
    rise = ((pixels + 0.5) / ratio - means - 0.5) / 2  # of the difference between both neighbours
    columns = means, np.minimum(means + 1, size - 1), np.maximum(means - 1, 0)
    values = np.concatenate([np.ones_like(rise), rise, -rise]).astype(np.float32)
    return scipy.sparse.csr_matrix(
        (values, (np.tile(pixels, 3), np.concatenate(columns))), (size * ratio, size)
    )
