"""Pre-transformed kernels: 3×3 convolutions in forms that CPUs compute in less time.

The networks know nothing of them. `pre_transform` transforms the kernels of a generator once. Within
`convolving_with`, a Flax interceptor calls `convolve` in place of the `Conv` layers of these kernels. The
leading sizes of a transformed kernel tell its form: `[2, 2, C, 4F]` upsamples, `[4, 4, C, F]` convolves in
tiles, and `[3, 3, C, F]` is the kernel itself.

This is for sampling alone. Training would transform the kernels in every step, which takes longer than the
convolution of small maps, and XLA computes the gradients of these forms slowly on CPUs.
"""

import functools
import operator
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from biggan_jax.models import convolution
from biggan_jax.models.generator import Generator
from biggan_jax.models.layers import Conv
from biggan_jax.models.parameter_tree import Tree, flatten, unflatten

Kernels = Mapping[str, jax.Array]  # by the path of the weight: "block_0/conv_1/kernel"

FEW_PIXELS = 64  # Batches of so many pixels are convolved by a matrix product.
WIDE = 512  # Channels from which tiles take less time, for any number of images.
TILED = 8  # Resolution from which tiles take less time.
# The transforms of F(2×2, 3×3): of the kernel, the input and the output.
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


class _Use(NamedTuple):
    """How a generator uses the kernel of one layer."""

    operation: Callable[[jax.Array, jax.Array], jax.Array]
    resolution: int
    dtype: jnp.dtype


def pre_transform(generator: Generator, latent_dim: int, params: Tree) -> tuple[Tree, Kernels]:
    """Transforms the kernels of all 3×3 convolutions of a generator.

    Args:
      generator: The network.
      latent_dim: Length of its latents.
      params: Its parameters, on a CPU.

    Returns:
      The other parameters, and the transformed kernels.
    """
    uses = _kernel_uses(generator, latent_dim, params)
    leaves = flatten(params)
    kernels = {path: leaves.pop(path) for path in uses}
    return unflatten(leaves), _transform_all(tuple(uses.items()), kernels)


def convolving_with(kernels: Kernels) -> AbstractContextManager[None]:
    """Returns a context in which generators convolve with pre-transformed kernels, if there are any.

    A layer whose kernel is not among them computes as ever, from its parameters.
    """

    def intercept(layer_call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        kernel = kernels.get(_kernel_path(layer)) if isinstance(layer, Conv) else None
        if kernel is None:
            return layer_call(*args, **kwargs)
        y = convolve(args[0].astype(layer.dtype), kernel.astype(layer.dtype))
        return y + layer.get_variable("params", "bias").astype(layer.dtype) if layer.use_bias else y

    return nn.intercept_methods(intercept)


def transform(
    operation: Callable[[jax.Array, jax.Array], jax.Array],
    kernel: jax.Array,
    resolution: int,
    dtype: jnp.dtype,
) -> jax.Array:
    """Transforms one kernel for `convolve`.

    Args:
      operation: `convolution.conv` or `convolution.upsample_conv`.
      kernel: `[3, 3, C, F]`.
      resolution: Resolution of the input maps.
      dtype: Type that the convolution computes in.
    """
    if operation is convolution.upsample_conv:
        return _phase_kernels(kernel)
    precise = jnp.finfo(dtype).bits >= 32  # Tiles lose a bit or two, and bfloat16 has none to spare.
    if precise and kernel.shape[2] >= WIDE and resolution >= TILED and resolution % 2 == 0:
        return _tile_kernels(kernel)
    return kernel


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes `operation(x, kernel)` from the transformed kernel; equal up to rounding."""
    forms = {2: _upsample_by_phases, 3: _by_kernel, 4: _by_tiles}
    return forms[kernel.shape[0]](x, kernel)


def _kernel_path(module: nn.Module) -> str:
    return "/".join((*module.path, "kernel"))


def _kernel_uses(generator: Generator, latent_dim: int, params: Tree) -> dict[str, _Use]:
    """Traces the generator for one image and records its 3×3 convolutions by the paths of their kernels."""
    uses: dict[str, _Use] = {}

    def intercept(layer_call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if isinstance(layer, Conv) and layer.size == 3:
            uses[_kernel_path(layer)] = _Use(layer.operation, args[0].shape[1], layer.dtype)
        return layer_call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        jax.eval_shape(
            generator.apply, {"params": params}, jnp.zeros((1, latent_dim)), jnp.zeros(1, jnp.int32)
        )
    return uses


@functools.partial(jax.jit, static_argnums=0)
def _transform_all(uses: tuple[tuple[str, _Use], ...], kernels: Kernels) -> dict[str, jax.Array]:
    return {path: transform(use.operation, kernels[path], use.resolution, use.dtype) for path, use in uses}


def _phase_kernels(kernel: jax.Array) -> jax.Array:
    """Lays the four kernels of upsampling side by side: `[3, 3, C, F]` → `[2, 2, C, 4F]`.

    A phase of the output (even or odd rows, even or odd columns) meets every second row and column of a 4×4
    kernel.
    """
    phases = [convolution.box(kernel)[i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return jnp.concatenate(phases, axis=-1)


def _upsample_by_phases(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """Computes all phases by one convolution; each is a window of its output."""
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
    """Convolves with padding 1 by a matrix product with the neighbourhoods of all pixels."""
    size, _, channels, features = kernel.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = (side - size + 1 for side in padded.shape[1:3])
    patches = [padded[:, i : i + h, j : j + w] for i in range(size) for j in range(size)]
    return jnp.dot(jnp.concatenate(patches, axis=-1), kernel.reshape(size * size * channels, features))


def _tile_kernels(kernel: jax.Array) -> jax.Array:
    """Transforms `[3, 3, C, F]` → `[4, 4, C, F]`."""
    matrix = KERNEL.astype(kernel.dtype)
    return jnp.einsum("ai,bj,ijcf->abcf", matrix, matrix, kernel, precision=lax.Precision.HIGHEST)


def _by_tiles(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """Computes tiles of 2×2 outputs by 16 multiplications instead of 36.

    Winograd's minimal filtering: Lavin & Gray 2016, arXiv 1509.09308, section 4.1.
    """
    n, h, w, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = _combine(INPUT, [padded[:, i : i + h - 1 : 2] for i in range(4)])
    tiles = [_combine(INPUT, [row[:, :, j : j + w - 1 : 2] for j in range(4)]) for row in rows]
    inputs_16xTxC = jnp.stack([tile.reshape(-1, channels) for row in tiles for tile in row])
    products = jnp.einsum("ktc,kcf->ktf", inputs_16xTxC, kernels.reshape(16, channels, -1))
    products = products.reshape(4, 4, n, h // 2, w // 2, -1)
    rows = _combine(OUTPUT, list(products))  # each holds all four columns
    return convolution.interleave([_combine(OUTPUT, list(row)) for row in rows])


def _combine(matrix: np.ndarray, parts: list[jax.Array]) -> list[jax.Array]:
    """Computes `matrix @ parts` term by term: the entries are 0, 1 and -1."""
    return [
        functools.reduce(
            operator.add, (part if sign > 0 else -part for sign, part in zip(row, parts, strict=True) if sign)
        )
        for row in matrix
    ]
