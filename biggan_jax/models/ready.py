"""Kernels that are made ready once, for 3×3 convolutions that CPUs then draw by in less time.

What is ready tells the form by its size: `[2, 2, C, 4F]` upsamples, `[4, 4, C, F]` goes tile by tile, and
`[3, 3, C, F]` is the kernel as it was. It is for drawing alone: to train, kernels would be made ready at
every step, which takes longer than to convolve small maps, and XLA is slow at these forms' gradients on CPUs.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from biggan_jax.models import convolution

FEW_PIXELS = 64  # of a batch
WIDE = 512  # channels from which on tiles are quicker, however many images
TILED = 8  # pixels a side from which on they are
# The transforms of F(2×2, 3×3): of kernels, of what comes in, and of what goes out.
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def make_ready(
    operation: Callable[[jax.Array, jax.Array], jax.Array],
    kernel: jax.Array,
    resolution: int,
    dtype: jnp.dtype,
) -> jax.Array:
    """What `convolve` takes in place of a kernel.

    Args:
      operation: `convolution.conv` or `convolution.upsample_conv`.
      kernel: `[3, 3, C, F]`.
      resolution: pixels a side of the maps that come in.
      dtype: what will be computed in.
    """
    if operation is convolution.upsample_conv:
        return _phase_kernels(kernel)
    precise = jnp.finfo(dtype).bits >= 32  # tiles lose a bit or two, of which bfloat16 has none to spare
    if precise and kernel.shape[2] >= WIDE and resolution >= TILED and resolution % 2 == 0:
        return _tile_kernels(kernel)
    return kernel


def convolve(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """`operation(x, kernel)` by what `make_ready` has made of them, equal up to rounding."""
    forms = {2: _upsample_by_phases, 3: _by_kernel, 4: _by_tiles}
    return forms[kernels.shape[0]](x, kernels)


def _phase_kernels(kernel: jax.Array) -> jax.Array:
    """`[3, 3, C, F]` → `[2, 2, C, 4F]`: four kernels side by side, one for each phase of what is upsampled.

    A phase (even or odd rows, even or odd columns) sees every second row and column of a 4×4 kernel.
    """
    phases = [convolution.box(kernel)[i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return jnp.concatenate(phases, axis=-1)


def _upsample_by_phases(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """All phases by one convolution, each a window of what it gives."""
    n, h, w, _ = x.shape
    if n * (h + 1) * (w + 1) <= 2 * FEW_PIXELS:
        y = _by_patches(x, kernels)
    else:
        y = lax.conv_general_dilated(
            x, kernels, (1, 1), ((1, 1), (1, 1)), dimension_numbers=convolution.DIMENSIONS
        )
    y = y.reshape(n, h + 1, w + 1, 2, 2, -1)
    return convolution.interleave([[y[:, i : i + h, j : j + w, i, j] for j in (0, 1)] for i in (0, 1)])


def _by_kernel(x: jax.Array, kernel: jax.Array) -> jax.Array:
    n, h, w, _ = x.shape
    return _by_patches(x, kernel) if n * h * w <= FEW_PIXELS else convolution.conv(x, kernel)


def _by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with padding 1 as a matrix product with every pixel's neighbourhood."""
    size, _, channels, features = kernel.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = (side - size + 1 for side in padded.shape[1:3])
    patches = [padded[:, i : i + h, j : j + w] for i in range(size) for j in range(size)]
    return jnp.dot(jnp.concatenate(patches, axis=-1), kernel.reshape(size * size * channels, features))


def _tile_kernels(kernel: jax.Array) -> jax.Array:
    """`[3, 3, C, F]` → `[4, 4, C, F]`."""
    transform = KERNEL.astype(kernel.dtype)
    return jnp.einsum("ai,bj,ijcf->abcf", transform, transform, kernel, precision=lax.Precision.HIGHEST)


def _by_tiles(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """Tiles of 2×2 outputs by 16 multiplications in place of 36 (Winograd's minimal filtering, Lavin & Gray
    2016, arXiv 1509.09308, section 4.1).
    """
    n, h, w, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = _transform(INPUT, [padded[:, i : i + h - 1 : 2] for i in range(4)])
    tiles = [_transform(INPUT, [row[:, :, j : j + w - 1 : 2] for j in range(4)]) for row in rows]
    inputs_16xTxC = jnp.stack([tile.reshape(-1, channels) for row in tiles for tile in row])
    products = jnp.einsum("ktc,kcf->ktf", inputs_16xTxC, kernels.reshape(16, channels, -1))
    products = products.reshape(4, 4, n, h // 2, w // 2, -1)
    rows = _transform(OUTPUT, list(products))  # each of all four columns
    return convolution.interleave([_transform(OUTPUT, list(row)) for row in rows])


def _transform(matrix: np.ndarray, parts: list[jax.Array]) -> list[jax.Array]:
    """`matrix @ parts`, written out: its entries are 0, 1 and -1."""
    return [
        sum(part if sign > 0 else -part for sign, part in zip(row, parts, strict=True) if sign)
        for row in matrix
    ]
