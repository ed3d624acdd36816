"""Resizing by area, as Pillow's BOX filter does it, also where only the means of several pixels are at hand.

Brock et al. 2019 (arXiv 1809.11096) resize ImageNet by area. That can be read in two ways: parts of pixels
count as parts, or each pixel counts where its centre lies. At whole factors they are the same. Pillow's BOX
is the second, and anybody can check a picture against it in one line.
"""

import functools

import numpy as np
import scipy.sparse

MOST_PIXELS_SUMMED = 16  # a side: 16 · 16 · 255 still fits into 16 bits


def box_resize(
    pixels: np.ndarray, square: tuple[int, int, int], resolution: int, ratio: int = 1
) -> np.ndarray:
    """Each new pixel is the mean of those whose centres lie in its area, rounded.

    Args:
      pixels: u8[H, W, 3]; with a ratio, each the mean of `ratio` × `ratio` pixels of the picture, whose own
        values are then estimated: of the same mean, and rising or falling as the neighbours do.
      square: left, top and side of what becomes the picture, in pixels of the whole picture.
      resolution: pixels a side of the result.
      ratio: pixels of the picture for one of `pixels`, a side.

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
    if ratio > 1:  # an estimate may lie beyond black and white
        np.clip(means, 0, 255, out=means)
    return np.ascontiguousarray(means.astype(np.uint8).transpose(2, 0, 1))


def _span(start: int, side: int, size: int, ratio: int) -> tuple[int, int]:
    """The first of `size` pixels that matters, and the first behind that doesn't."""
    neighbour = ratio > 1
    return max(0, start // ratio - neighbour), min(size, -(-(start + side) // ratio) + neighbour)


def _areas(side: int, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each new pixel the first pixel, and the first behind its last: Pillow's arithmetic, also at ties."""
    scale = side / resolution
    centers, half = (np.arange(resolution) + 0.5) * scale, 0.5 * max(1.0, scale)
    first = np.maximum(centers - half + 0.5, 0).astype(int)
    return first, np.minimum(centers + half + 0.5, side).astype(int)


@functools.lru_cache(maxsize=1024)
def _counts(side: int, resolution: int) -> np.ndarray:
    """f32[resolution, 1, resolution]: how many pixels each new one is made of."""
    first, last = _areas(side, resolution)
    return np.multiply.outer(last - first, last - first).astype(np.float32)[:, None]


@functools.lru_cache(maxsize=1024)
def _sums(
    start: int, side: int, size: int, resolution: int, ratio: int, channels: int = 1
) -> scipy.sparse.csr_matrix:
    """[resolution · channels, size · channels]: sums up each area's pixels, each channel for itself."""
    first, last = (edges + start for edges in _areas(side, resolution))
    ends = np.cumsum(last - first)
    indices = np.arange(ends[-1]) + np.repeat(last - ends, last - first)
    integers = ratio == 1 and side <= MOST_PIXELS_SUMMED * resolution
    values = np.ones(len(indices), np.uint16 if integers else np.float32)
    sums = scipy.sparse.csr_matrix((values, indices, [0, *ends]), (resolution, size * ratio))
    if ratio > 1:
        sums = sums @ _estimates(size, ratio)
    return scipy.sparse.kron(sums, scipy.sparse.eye(channels, dtype=values.dtype), format="csr")


def _estimates(size: int, ratio: int) -> scipy.sparse.csr_matrix:
    """f32[size · ratio, size]: pixels from the means of `ratio` of them."""
    pixels = np.arange(size * ratio)
    means = pixels // ratio
    rise = ((pixels + 0.5) / ratio - means - 0.5) / 2  # of the difference of both neighbours
    columns = means, np.minimum(means + 1, size - 1), np.maximum(means - 1, 0)
    values = np.concatenate([np.ones_like(rise), rise, -rise]).astype(np.float32)
    return scipy.sparse.csr_matrix(
        (values, (np.tile(pixels, 3), np.concatenate(columns))), (size * ratio, size)
    )
