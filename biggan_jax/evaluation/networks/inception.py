"""The Inception-v3 of 2015-12-05, which defines Inception Score and FID (Szegedy et al., arXiv 1512.00567).

It differs from the Inception-v3 of today's model zoos: average pools exclude the padding, the last block
pools by maximum, it has 1008 classes, batch norm's ε is 1e-3, and images are resized as in TensorFlow 1.
Layers have the names of the weights file. Batch norm, constant at inference, is folded into kernels and
biases.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

INPUT_SIZE = 299
RESIZE = "bilinear as in TensorFlow 1: corner-aligned grid without half-pixel centres, no antialiasing"
FEATURES = 2048
CLASSES = 1008  # 1000 of ImageNet, and 8 without training images

# On TPUs and GPUs the default rounds factors to bfloat16 or TF32, which changes the second decimal of FID.
PRECISION = jax.lax.Precision.HIGHEST

Layer = Callable[[jax.Array], jax.Array]


class Inception(nn.Module):
    """Inception-v3 with the resize of its input."""

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes features and logits.

        Args:
          images: u8[N, H, W, 3] of any height and width.

        Returns:
          The pooled features f32[N, 2048] and the logits f32[N, 1008]. The logits lack the bias of the last
          layer, as in every published Inception Score.
        """
        x = (resize(images.astype(jnp.float32), INPUT_SIZE) - 128) / 128
        x = _conv("Conv2d_1a_3x3", 32, (3, 3), stride=2)(x)  # 149×149
        x = _conv("Conv2d_2a_3x3", 32, (3, 3), padding="VALID")(x)
        x = _conv("Conv2d_2b_3x3", 64, (3, 3))(x)
        x = _max_pool(x, stride=2)  # 73×73
        x = _conv("Conv2d_3b_1x1", 80)(x)
        x = _conv("Conv2d_4a_3x3", 192, (3, 3), padding="VALID")(x)
        x = _max_pool(x, stride=2)  # 35×35
        for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = BlockA(pooled, name=name)(x)
        x = BlockB(name="Mixed_6a")(x)  # 17×17
        for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = BlockC(inner, name=name)(x)
        x = BlockD(name="Mixed_7a")(x)  # 8×8
        x = BlockE(average_pool, name="Mixed_7b")(x)
        x = BlockE(_max_pool, name="Mixed_7c")(x)
        features = x.mean(axis=(1, 2))
        return features, nn.Dense(CLASSES, use_bias=False, precision=PRECISION, name="fc")(features)


class BlockA(nn.Module):
    """Block at 35×35 with branches 1×1, 5×5, two 3×3 and pool.

    Attributes:
      pooled: Channels of the pool branch.
    """

    pooled: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block to x: f32[N, 35, 35, C]."""
        branches = [
            _conv("branch1x1", 64)(x),
            _chain(_conv("branch5x5_1", 48), _conv("branch5x5_2", 64, (5, 5)))(x),
            _chain(
                _conv("branch3x3dbl_1", 64),
                _conv("branch3x3dbl_2", 96, (3, 3)),
                _conv("branch3x3dbl_3", 96, (3, 3)),
            )(x),
            _conv("branch_pool", self.pooled)(average_pool(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockB(nn.Module):
    """Block from 35×35 to 17×17."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block to x: f32[N, 35, 35, C]."""
        branches = [
            _conv("branch3x3", 384, (3, 3), stride=2)(x),
            _chain(
                _conv("branch3x3dbl_1", 64),
                _conv("branch3x3dbl_2", 96, (3, 3)),
                _conv("branch3x3dbl_3", 96, (3, 3), stride=2),
            )(x),
            _max_pool(x, stride=2),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockC(nn.Module):
    """Block at 17×17 with 7×7 convolutions factored into rows and columns.

    Attributes:
      inner: Channels of the inner convolutions.
    """

    inner: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block to x: f32[N, 17, 17, C]."""
        row, column, inner = (1, 7), (7, 1), self.inner
        branches = [
            _conv("branch1x1", 192)(x),
            _chain(
                _conv("branch7x7_1", inner),
                _conv("branch7x7_2", inner, row),
                _conv("branch7x7_3", 192, column),
            )(x),
            _chain(
                _conv("branch7x7dbl_1", inner),
                _conv("branch7x7dbl_2", inner, column),
                _conv("branch7x7dbl_3", inner, row),
                _conv("branch7x7dbl_4", inner, column),
                _conv("branch7x7dbl_5", 192, row),
            )(x),
            _conv("branch_pool", 192)(average_pool(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockD(nn.Module):
    """Block from 17×17 to 8×8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block to x: f32[N, 17, 17, C]."""
        branches = [
            _chain(_conv("branch3x3_1", 192), _conv("branch3x3_2", 320, (3, 3), stride=2))(x),
            _chain(
                _conv("branch7x7x3_1", 192),
                _conv("branch7x7x3_2", 192, (1, 7)),
                _conv("branch7x7x3_3", 192, (7, 1)),
                _conv("branch7x7x3_4", 192, (3, 3), stride=2),
            )(x),
            _max_pool(x, stride=2),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockE(nn.Module):
    """Block at 8×8, in which a row and a column side by side replace each 3×3 convolution.

    Attributes:
      pool: Pooling of the pool branch.
    """

    pool: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block to x: f32[N, 8, 8, C]."""
        narrow = _conv("branch3x3_1", 384)(x)
        deep = _chain(_conv("branch3x3dbl_1", 448), _conv("branch3x3dbl_2", 384, (3, 3)))(x)
        branches = [
            _conv("branch1x1", 320)(x),
            _conv("branch3x3_2a", 384, (1, 3))(narrow),
            _conv("branch3x3_2b", 384, (3, 1))(narrow),
            _conv("branch3x3dbl_3a", 384, (1, 3))(deep),
            _conv("branch3x3dbl_3b", 384, (3, 1))(deep),
            _conv("branch_pool", 192)(self.pool(x)),
        ]
        return jnp.concatenate(branches, axis=-1)


def resize(images: jax.Array, size: int) -> jax.Array:
    """Resizes f32[N, H, W, C] → f32[N, size, size, C] bilinearly, as TensorFlow 1 did by default.

    Output pixel i lies at i · H / size of the input, not at (i + ½) · H / size − ½, and depends on four
    pixels without antialiasing. Published FIDs contain both.
    """
    rows, columns = (_neighbours(length, size) for length in images.shape[1:3])
    images = _interpolate(images, *columns, axis=2)
    return _interpolate(images, *rows, axis=1)


def _neighbours(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the two input pixels around each output pixel, and the share of the second."""
    position = np.arange(size, dtype=np.float32) * np.float32(length / size)
    first = np.floor(position).astype(np.int32)
    return first, np.minimum(first + 1, length - 1), position - first.astype(np.float32)


def _interpolate(
    x: jax.Array, first: np.ndarray, second: np.ndarray, share: np.ndarray, axis: int
) -> jax.Array:
    left, right = (jnp.take(x, index, axis=axis) for index in (first, second))
    shape: Sequence[int] = [len(share) if number == axis else 1 for number in range(x.ndim)]
    return left + (right - left) * share.reshape(shape)


def average_pool(x: jax.Array) -> jax.Array:
    """Averages the 3×3 pixels around each pixel, without those outside: [N, H, W, C] → the same."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _max_pool(x: jax.Array, stride: int = 1) -> jax.Array:
    return nn.max_pool(x, (3, 3), (stride, stride), "SAME" if stride == 1 else "VALID")


def _conv(
    name: str, channels: int, kernel: tuple[int, int] = (1, 1), stride: int = 1, padding: str | None = None
) -> Layer:
    """Returns a convolution with ReLU; with a stride it has no padding by default."""
    padding = padding or ("SAME" if stride == 1 else "VALID")
    conv = nn.Conv(channels, kernel, stride, padding, precision=PRECISION, name=name)
    return lambda x: nn.relu(conv(x))


def _chain(*layers: Layer) -> Layer:
    def run(x: jax.Array) -> jax.Array:
        for layer in layers:
            x = layer(x)
        return x

    return run
