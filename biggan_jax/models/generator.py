"""Generators of BigGAN and BigGAN-deep (Brock et al. 2019, appendix B: figures 15, 16, tables 4 to 9)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.models import convolution
from biggan_jax.models.architecture import INITIAL_RESOLUTION, REDUCTION, Architecture, Block
from biggan_jax.models.conditioning import ConditionalBatchNorm, Conditioning
from biggan_jax.models.layers import (
    AffineBatchNorm,
    BatchNormSettings,
    Conv,
    Linear,
    SelfAttention,
    at_least_float32,
)


class GeneratorBlock(nn.Module):
    """Block of BigGAN (figure 15b): conditional BN, ReLU, upsample, conv 3×3, conditional BN, ReLU, conv 3×3.

    The shortcut upsamples and convolves 1×1. Maps `[N, H, W, C]` → `[N, 2H, 2W, F]`.
    """

    block: Block
    norm: Callable[..., ConditionalBatchNorm]
    removed_shift: bool  # whether a constant added to a channel of the output leaves the images unchanged
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, stored_statistics: bool) -> jax.Array:
        """Applies the block to `x` under its condition from `Conditioning.divide_inputs`."""

        def norm_relu(y: jax.Array, name: str) -> jax.Array:
            return nn.relu(self.norm(name=name)(y, condition, stored_statistics))

        conv = functools.partial(Conv, self.block.out_channels, dtype=self.dtype)
        y = norm_relu(x, "norm_1")
        y = conv(operation=convolution.upsample_conv, removed_bias=True, name="conv_1")(y)
        y = norm_relu(y, "norm_2")
        y = conv(removed_bias=self.removed_shift, name="conv_2")(y)
        # A 1×1 convolution commutes with upsampling and costs a quarter before it.
        shortcut = conv(size=1, removed_bias=self.removed_shift, name="conv_shortcut")(x)
        return y + convolution.upsample(shortcut)


class DeepGeneratorBlock(nn.Module):
    """Block of BigGAN-deep (figure 16b): a bottleneck of four convolutions.

    The shortcut drops surplus channels, then upsamples. Maps `[N, H, W, C]` → `[N, H', W', F]`,
    with twice the resolution if the block upsamples.
    """

    block: Block
    norm: Callable[..., ConditionalBatchNorm]
    removed_shift: bool  # whether a constant added to a channel of the output leaves the images unchanged
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, stored_statistics: bool) -> jax.Array:
        """Applies the block to `x` under its condition from `Conditioning.divide_inputs`."""

        def norm_relu(y: jax.Array, name: str) -> jax.Array:
            return nn.relu(self.norm(name=name)(y, condition, stored_statistics))

        features, hidden = self.block.out_channels, self.block.in_channels // REDUCTION
        expand = convolution.upsample_conv if self.block.resample else convolution.conv
        conv = functools.partial(Conv, dtype=self.dtype)
        y = norm_relu(x, "norm_1")
        y = conv(hidden, size=1, removed_bias=True, name="conv_1")(y)
        y = norm_relu(y, "norm_2")
        y = conv(hidden, operation=expand, removed_bias=True, name="conv_2")(y)
        y = norm_relu(y, "norm_3")
        y = conv(hidden, removed_bias=True, name="conv_3")(y)
        y = norm_relu(y, "norm_4")
        y = conv(features, size=1, removed_bias=self.removed_shift, name="conv_4")(y)
        shortcut = x[..., :features]
        return y + (convolution.upsample(shortcut) if self.block.resample else shortcut)


class Generator(nn.Module):
    """G(z, y): maps latents and labels to images.

    BigGAN is figure 15 of the paper, BigGAN-deep figure 16; tables 4 to 9 give the widths.

    Attributes:
      architecture: Blocks of the network.
      conditioning: How z and y reach the first layer and the batch norms of each block.
      batch_norm: Settings that all batch norms share.
      dtype: Type that the layers compute in.
      remat: Whether the backward pass recomputes blocks, which saves memory and costs time.
    """

    architecture: Architecture
    conditioning: Conditioning
    batch_norm: BatchNormSettings
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array, stored_statistics: bool = False) -> jax.Array:
        """Generates images.

        Args:
          z: f32[N, latent_dim], from the distribution that the model is trained with.
          labels: i32[N] in [0, num_classes), or weights f32[N, num_classes] that mix the classes.
          stored_statistics: Whether batch norm uses the collection `statistics` instead of batch statistics.

        Returns:
          f32[N, resolution, resolution, 3] in [-1, 1].
        """
        blocks = self.architecture.generator_blocks
        first, conditions = self.conditioning.divide_inputs(z, labels, len(blocks))
        width = blocks[0].in_channels
        x = Linear(INITIAL_RESOLUTION**2 * width, dtype=self.dtype, name="linear")(first)
        x = x.reshape(-1, INITIAL_RESOLUTION, INITIAL_RESOLUTION, width)
        norm = functools.partial(ConditionalBatchNorm, self.conditioning, self.batch_norm)
        block_class = DeepGeneratorBlock if self.architecture.deep else GeneratorBlock
        if self.remat:
            block_class = nn.remat(block_class, static_argnums=(3,))
        for index, (block, condition) in enumerate(zip(blocks, conditions, strict=True)):
            # A shift passes the shortcuts and is removed by the last batch norm, unless attention reads it.
            removed_shift = not any(later.attention for later in blocks[index:])
            module = block_class(block, norm, removed_shift, self.dtype, name=f"block_{index}")
            x = module(x, condition, stored_statistics)
            if block.attention:
                x = SelfAttention(self.dtype, name="attention")(x)
        x = nn.relu(AffineBatchNorm(self.batch_norm, name="norm")(x, stored_statistics))
        x = Conv(3, dtype=self.dtype, name="conv")(x)
        return jnp.tanh(x.astype(at_least_float32(self.dtype)))
