"""Conditioning: how the class and the latent reach the batch norms of the generator.

An entry of `CONDITIONINGS` divides the generator's inputs between its first layer and its blocks, and maps a
block's share to the gain and bias of a batch norm (Brock et al. 2019, section 3 and appendix B). Another
conditioning is one class here and one line in the table; `model.conditioning` selects it by its name.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.models.layers import BatchNorm, BatchNormSettings, ClassEmbedding, Linear, at_least_float32

SELF_MODULATION_HIDDEN = 32  # hidden units, as in the experiments of Chen et al. 2019


@dataclasses.dataclass(frozen=True)
class Conditioning:
    """Base class of the conditionings.

    Both methods run inside a compact Flax method. A layer that they create belongs to the module that calls
    them: to the generator in `divide_inputs`, to a batch norm in `gain_and_bias`.

    Attributes:
      num_classes: Number of classes.
      class_embedding_dim: Length of the shared class embedding.
      hierarchical_latents: Whether z is split into chunks, one for the first layer and one for each block.
      deep: Whether the generator is BigGAN-deep, which feeds the whole latent to every block.
      dtype: Type that the layers compute in.
      divides_latent: Whether the blocks take chunks of z with `hierarchical_latents`.
    """

    divides_latent: ClassVar[bool] = True

    num_classes: int
    class_embedding_dim: int
    hierarchical_latents: bool = False
    deep: bool = False
    dtype: jnp.dtype = jnp.float32

    def divide_inputs(
        self, z: jax.Array, labels: jax.Array, num_blocks: int
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Divides the inputs of the generator.

        Args:
          z: f32[N, latent_dim].
          labels: i32[N], or weights of all classes f32[N, num_classes].
          num_blocks: Number of residual blocks.

        Returns:
          The input of the first linear layer, [N, C], and one condition for each block, [N, ...].
        """
        raise NotImplementedError

    def gain_and_bias(self, condition: jax.Array, features: int) -> tuple[jax.Array, jax.Array]:
        """Maps a block's condition to the gain minus 1 and the bias of a batch norm, each [N, features]."""
        raise NotImplementedError


class SharedEmbedding(Conditioning):
    """One class embedding for all batch norms, which project it linearly (Brock et al. 2019, section 3).

    The condition of a block is its chunk of z beside the embedding (skip-z, figure 15); without
    `hierarchical_latents`, the embedding alone. In BigGAN-deep it is the whole of z beside the embedding, and
    the first layer has the same input (figure 16).
    """

    def divide_inputs(
        self, z: jax.Array, labels: jax.Array, num_blocks: int
    ) -> tuple[jax.Array, list[jax.Array]]:
        """See `Conditioning.divide_inputs`."""
        embedding = ClassEmbedding(self.num_classes, self.class_embedding_dim, name="class_embedding")(labels)
        if self.deep:
            condition = jnp.concatenate([z, embedding], axis=-1)
            return condition, [condition] * num_blocks
        if not self.hierarchical_latents:
            return z, [embedding] * num_blocks
        first, *chunks = jnp.split(z, num_blocks + 1, axis=-1)
        return first, [jnp.concatenate([chunk, embedding], axis=-1) for chunk in chunks]

    def gain_and_bias(self, condition: jax.Array, features: int) -> tuple[jax.Array, jax.Array]:
        """Projects the condition `[N, D]` by two matrices `[D, features]`."""
        return _project(condition, features, self.dtype)


class ClassTables(Conditioning):
    """One gain and one bias for each class in every batch norm, as in SAGAN and the paper's baseline."""

    divides_latent = False

    def divide_inputs(
        self, z: jax.Array, labels: jax.Array, num_blocks: int
    ) -> tuple[jax.Array, list[jax.Array]]:
        """See `Conditioning.divide_inputs`."""
        return z, [labels] * num_blocks

    def gain_and_bias(self, condition: jax.Array, features: int) -> tuple[jax.Array, jax.Array]:
        """Looks the labels up in two tables `[num_classes, features]`."""
        gain, bias = (ClassEmbedding(self.num_classes, features, name=name) for name in ("gain", "bias"))
        return gain(condition), bias(condition)


class SelfModulation(Conditioning):
    """Gain and bias from z alone, by one hidden layer (Chen et al. 2019, arXiv 1810.01365, section 3).

    The class does not reach the generator: this is the conditioning of unlabelled images. With
    `hierarchical_latents` each block is modulated by its own chunk of z, else by the whole of z.
    """

    def divide_inputs(
        self, z: jax.Array, labels: jax.Array, num_blocks: int
    ) -> tuple[jax.Array, list[jax.Array]]:
        """See `Conditioning.divide_inputs`."""
        if not self.hierarchical_latents:
            return z, [z] * num_blocks
        first, *chunks = jnp.split(z, num_blocks + 1, axis=-1)
        return first, chunks

    def gain_and_bias(self, condition: jax.Array, features: int) -> tuple[jax.Array, jax.Array]:
        """Computes V·max(0, U·z + b), with one U and b for gain and bias and one V for each."""
        hidden = nn.relu(Linear(SELF_MODULATION_HIDDEN, dtype=self.dtype, name="hidden")(condition))
        return _project(hidden, features, self.dtype)


CONDITIONINGS: dict[str, type[Conditioning]] = {
    "shared_embedding": SharedEmbedding,
    "class_tables": ClassTables,
    "self_modulation": SelfModulation,
}


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias come from a condition; the gain is centred on 1.

    Attributes:
      conditioning: Map from the condition to gain and bias.
      settings: Settings that all batch norms of the network share.
    """

    conditioning: Conditioning
    settings: BatchNormSettings

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, stored_statistics: bool) -> jax.Array:
        """Normalises `x: [N, H, W, C]` by its block's condition `[N, …]`."""
        gain, bias = self.conditioning.gain_and_bias(condition, x.shape[-1])
        return BatchNorm(self.settings, name="normalize")(x, 1 + gain, bias, stored_statistics)


def _project(condition: jax.Array, features: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    gain, bias = (Linear(features, use_bias=False, dtype=dtype, name=name) for name in ("gain", "bias"))
    wide = at_least_float32(dtype)
    return gain(condition).astype(wide), bias(condition).astype(wide)
