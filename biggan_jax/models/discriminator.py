"""Discriminators of BigGAN and BigGAN-deep (Brock et al. 2019, appendix B: figures 15, 16, tables 4 to 9)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.models import convolution
from biggan_jax.models.architecture import REDUCTION, Architecture, Block
from biggan_jax.models.layers import Conv, Linear, SelfAttention, at_least_float32, initializer


class DiscriminatorBlock(nn.Module):
    """Block of BigGAN (figure 15c): ReLU, conv 3×3, ReLU, conv 3×3, average pool.

    The shortcut pools and convolves 1×1. `leading_relu` is False in the first block, which reads the image.
    Maps `[N, H, W, C]` → `[N, H', W', F]`, with half the resolution if the block downsamples.
    """

    block: Block
    leading_relu: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block."""
        features, down = self.block.out_channels, self.block.resample
        y = nn.relu(x) if self.leading_relu else x
        y = nn.relu(Conv(features, dtype=self.dtype, name="conv_1")(y))
        second = convolution.conv_downsample if down else convolution.conv
        y = Conv(features, operation=second, dtype=self.dtype, name="conv_2")(y)
        if down:  # A 1×1 convolution commutes with pooling and costs a quarter after it.
            x = convolution.average_pool(x)
        if down or self.block.in_channels != features:
            x = Conv(features, size=1, dtype=self.dtype, name="conv_shortcut")(x)
        return y + x


class DeepDiscriminatorBlock(nn.Module):
    """Block of BigGAN-deep (figure 16c): a bottleneck; the shortcut pools, then appends extra channels.

    Maps `[N, H, W, C]` → `[N, H', W', F]`, with half the resolution if the block downsamples.
    """

    block: Block
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block."""
        features, hidden = self.block.out_channels, self.block.out_channels // REDUCTION
        y = Conv(hidden, size=1, dtype=self.dtype, name="conv_1")(nn.relu(x))
        y = Conv(hidden, dtype=self.dtype, name="conv_2")(nn.relu(y))
        y = Conv(hidden, dtype=self.dtype, name="conv_3")(nn.relu(y))
        y = nn.relu(y)
        if self.block.resample:
            x, y = convolution.average_pool(x), convolution.average_pool(y)
        y = Conv(features, size=1, dtype=self.dtype, name="conv_4")(y)
        surplus = features - self.block.in_channels
        if surplus > 0:
            extra = Conv(surplus, size=1, dtype=self.dtype, name="conv_shortcut")(x)
            x = jnp.concatenate([x, extra], axis=-1)
        return y + x


class Discriminator(nn.Module):
    """D(x, y): maps images and labels to logits, with class projection (Miyato & Koyama 2018, section 3).

    Attributes:
      architecture: Blocks of the network.
      num_classes: Number of classes.
      dtype: Type that the layers compute in.
      remat: Whether the backward pass recomputes blocks, which saves memory and costs time.
    """

    architecture: Architecture
    num_classes: int
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Computes the logits of images.

        Args:
          images: f32[N, resolution, resolution, 3] in [-1, 1].
          labels: i32[N] in [0, num_classes).
          mask: Factors f32[N, C] of the features before the last layer, for dropout; None for no dropout.

        Returns:
          f32[N], positive for "real".
        """
        blocks = self.architecture.discriminator_blocks
        x = images.astype(self.dtype)
        if self.architecture.deep:
            x = Conv(blocks[0].in_channels, dtype=self.dtype, name="conv")(x)
        rematerialize = nn.remat if self.remat else lambda module: module
        for index, block in enumerate(blocks):
            name = f"block_{index}"
            if self.architecture.deep:
                x = rematerialize(DeepDiscriminatorBlock)(block, self.dtype, name=name)(x)
            else:
                x = rematerialize(DiscriminatorBlock)(block, index > 0, self.dtype, name=name)(x)
            if block.attention:
                x = SelfAttention(self.dtype, name="attention")(x)
        features = nn.relu(x).astype(at_least_float32(self.dtype)).sum(axis=(1, 2))
        if mask is not None:
            features *= mask
        logits = Linear(1, precision=jax.lax.Precision.HIGHEST, dtype=features.dtype, name="linear")(features)
        return logits[:, 0] + ClassProjection(self.num_classes, name="projection")(features, labels)


class ClassProjection(nn.Module):
    """⟨e(y), h⟩: features `[N, C]` and labels `[N]` → `[N]`; the embedding e(y) is a column of a weight."""

    num_classes: int

    @nn.compact
    def __call__(self, features: jax.Array, labels: jax.Array) -> jax.Array:
        """Projects the features onto the embeddings of the labels."""
        kernel = self.param("kernel", initializer, (features.shape[-1], self.num_classes))
        return jnp.sum(features * jnp.take(kernel, labels, axis=1).T, axis=-1)
