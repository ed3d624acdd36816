"""The generators of BigGAN and BigGAN-deep (Brock et al. 2019, appendix B, figures 15 and 16)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.models import convolution
from biggan_jax.models.architecture import INITIAL_RESOLUTION, REDUCTION, Architecture, Block
from biggan_jax.models.layers import (
    AffineBatchNorm,
    BatchNormSettings,
    ClassEmbedding,
    ConditionalBatchNorm,
    Conv,
    Linear,
    SelfAttention,
    at_least_float32,
)


class GeneratorBlock(nn.Module):
    """BigGAN: cBN, ReLU, upsample, conv 3×3, cBN, ReLU, conv 3×3; shortcut: upsample, conv 1×1."""

    block: Block
    norm: Callable[..., ConditionalBatchNorm]
    removed_shift: bool  # whether a constant added to a channel of the output changes nothing in the images
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, stored_statistics: bool) -> jax.Array:
        def norm_relu(y: jax.Array, name: str) -> jax.Array:
            return nn.relu(self.norm(name=name)(y, condition, stored_statistics))

        conv = functools.partial(Conv, self.block.out_channels, dtype=self.dtype)
        y = norm_relu(x, "norm_1")
        y = conv(operation=convolution.upsample_conv, removed_bias=True, name="conv_1")(y)
        y = norm_relu(y, "norm_2")
        y = conv(removed_bias=self.removed_shift, name="conv_2")(y)
        # A 1×1 convolution commutes with upsampling, and costs a quarter before it.
        shortcut = conv(size=1, removed_bias=self.removed_shift, name="conv_shortcut")(x)
        return y + convolution.upsample(shortcut)


class DeepGeneratorBlock(nn.Module):
    """BigGAN-deep: a bottleneck of four convolutions; the shortcut drops surplus channels, then upsamples."""

    block: Block
    norm: Callable[..., ConditionalBatchNorm]
    removed_shift: bool  # whether a constant added to a channel of the output changes nothing in the images
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, stored_statistics: bool) -> jax.Array:
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
    """G(z, y): latents and labels to images.

    BigGAN's latent is split into equal chunks if `hierarchical_latents`: the first feeds the initial
    linear layer, and each block's batch norms see the next one beside the class embedding. BigGAN-deep's
    condition is the whole latent and the class embedding, everywhere. Without a shared embedding, each
    batch norm has a table of gains and biases by class.
    """

    architecture: Architecture
    num_classes: int
    class_embedding_dim: int
    shared_embedding: bool
    hierarchical_latents: bool
    batch_norm: BatchNormSettings
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array, stored_statistics: bool = False) -> jax.Array:
        """Draws images.

        Args:
          z: f32[N, latent_dim], from the distribution the model is trained with.
          labels: i32[N] in [0, num_classes), or weights of all classes f32[N, num_classes] to mix them.
          stored_statistics: batch norm by the collection `statistics`, not by this batch.

        Returns:
          f32[N, resolution, resolution, 3] in [-1, 1].
        """
        blocks = self.architecture.generator_blocks
        first, conditions = self._conditions(z, labels, len(blocks))
        width = blocks[0].in_channels
        x = Linear(INITIAL_RESOLUTION**2 * width, dtype=self.dtype, name="linear")(first)
        x = x.reshape(-1, INITIAL_RESOLUTION, INITIAL_RESOLUTION, width)
        tables = None if self.shared_embedding else self.num_classes
        norm = functools.partial(ConditionalBatchNorm, tables, self.batch_norm, self.dtype)
        block_class = DeepGeneratorBlock if self.architecture.deep else GeneratorBlock
        if self.remat:
            block_class = nn.remat(block_class, static_argnums=(3,))
        for index, (block, condition) in enumerate(zip(blocks, conditions, strict=True)):
            # Shortcuts hand a shift on to the last batch norm, which takes it away, unless attention sees it.
            removed_shift = not any(later.attention for later in blocks[index:])
            module = block_class(block, norm, removed_shift, self.dtype, name=f"block_{index}")
            x = module(x, condition, stored_statistics)
            if block.attention:
                x = SelfAttention(self.dtype, name="attention")(x)
        x = nn.relu(AffineBatchNorm(self.batch_norm, name="norm")(x, stored_statistics))
        x = Conv(3, dtype=self.dtype, name="conv")(x)
        return jnp.tanh(x.astype(at_least_float32(self.dtype)))

    def _conditions(
        self, z: jax.Array, labels: jax.Array, num_blocks: int
    ) -> tuple[jax.Array, list[jax.Array]]:
        """What the initial linear layer sees, and what the batch norms of each block see."""
        if not self.shared_embedding:
            return z, [labels] * num_blocks
        embedding = ClassEmbedding(self.num_classes, self.class_embedding_dim, name="class_embedding")(labels)
        if self.architecture.deep:
            condition = jnp.concatenate([z, embedding], axis=-1)
            return condition, [condition] * num_blocks
        if not self.hierarchical_latents:
            return z, [embedding] * num_blocks
        first, *chunks = jnp.split(z, num_blocks + 1, axis=-1)
        return first, [jnp.concatenate([chunk, embedding], axis=-1) for chunk in chunks]
