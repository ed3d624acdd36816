"""Convolutions with and without a change of resolution, with less arithmetic for the same result.

Nearest-neighbour upsampling before a 3×3 convolution repeats each pixel four times, and average pooling after
one discards three of four outputs (residual blocks of Brock et al. 2019, figure 15). Both are linear, so each
pair is one operation with a 4×4 kernel: the 3×3 kernel, box-filtered by 2×2. It takes 16 multiplications for
each low-resolution pixel where the plain form takes 36. The results are equal up to rounding.
"""

import jax
import jax.numpy as jnp
from jax import lax

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with stride 1 and keeps the size; `x: [N, H, W, C]`, `kernel: [k, k, C, F]` with odd k."""
    if kernel.shape[:2] == (1, 1):
        # A matrix product takes half the time on CPUs, and more on TPUs by their compiler's estimate.
        return lax.platform_dependent(x, kernel, cpu=_at_each_pixel, default=_plain)
    return _plain(x, kernel)


def _at_each_pixel(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.dot(x, kernel[0, 0])


def _plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=DIMENSIONS)


def upsample(x: jax.Array) -> jax.Array:
    """Upsamples by two, nearest-neighbour: `[N, H, W, C]` → `[N, 2H, 2W, C]`."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


def average_pool(x: jax.Array) -> jax.Array:
    """Averages 2×2 windows: `[N, H, W, C]` → `[N, H/2, W/2, C]`."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `conv(upsample(x), kernel)` for a 3×3 kernel: `[N, H, W, C]` → `[N, 2H, 2W, F]`."""
    return _transposed(x, box(kernel))


def conv_downsample(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `average_pool(conv(x, kernel))` for a 3×3 kernel: `[N, H, W, C]` → `[N, H/2, W/2, F]`."""
    return _strided(x, box(kernel) / 4)


def box(kernel: jax.Array) -> jax.Array:
    """Sums a `[3, 3, C, F]` kernel over 2×2 windows (full correlation): `[4, 4, C, F]`."""
    # One axis at a time: on CPUs, sums of padded kernels took longer than convolving small maps.
    for axis in (0, 1):
        first, middle, last = jnp.split(kernel, 3, axis)
        kernel = jnp.concatenate([first, first + middle, middle + last, last], axis)
    return kernel


def _transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves, transposed, with stride 2 and a 4×4 kernel, in the form that suits the platform."""
    return lax.platform_dependent(x, kernel, cpu=_transposed_by_phases, default=_transposed_by_dilation)


def _transposed_by_dilation(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Inserts zeros between the pixels, which TPUs and GPUs skip."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=DIMENSIONS
    )


def _transposed_by_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes four 2×2 convolutions: CPUs are slow at dilation, above all in the gradient of the kernel.

    Each of the four phases of the output (even or odd row, even or odd column) meets every second row and
    column of the kernel.
    """

    def phase(i: int, j: int) -> jax.Array:
        return lax.conv_general_dilated(
            x, kernel[i::2, j::2], (1, 1), ((1 - i, i), (1 - j, j)), dimension_numbers=DIMENSIONS
        )

    return interleave([[phase(i, j) for j in (0, 1)] for i in (0, 1)])


def interleave(phases: list[list[jax.Array]]) -> jax.Array:
    """Interleaves even and odd rows and columns, each `[N, H, W, F]`, to `[N, 2H, 2W, F]`."""
    rows = [jnp.stack(row, axis=3) for row in phases]
    n, h, w, _, features = rows[0].shape
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * w, features)


def _plain_strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS)


@jax.custom_vjp
def _strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with stride 2, padding 1 and a 4×4 kernel: the adjoint of `_transposed`."""
    return _plain_strided(x, kernel)


def _strided_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _plain_strided(x, kernel), (x, kernel)


def _strided_backward(
    residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    # JAX's own gradient with respect to x would dilate on every platform; the kernel's gradient does not.
    x_gradient = _transposed(gradient, kernel[::-1, ::-1].swapaxes(2, 3))
    _, pullback = jax.vjp(lambda k: _plain_strided(x, k), kernel)
    return x_gradient, pullback(gradient)[0]


_strided.defvjp(_strided_forward, _strided_backward)
