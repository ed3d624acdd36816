"""Generation of one batch of images on one device."""

import functools
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp

from biggan_jax.models.generator import Generator
from biggan_jax.models.spectral_norm import Tree
from biggan_jax.sampling import cpu_kernels

Pixels = Literal["uint8", "float32"]


class Weights(NamedTuple):
    """Weights of the generator on one device.

    Attributes:
      params: Parameters.
      kernels: Pre-transformed kernels in place of some parameters; on CPUs alone.
    """

    params: Tree
    kernels: cpu_kernels.Kernels


def place_weights(generator: Generator, latent_dim: int, params: Tree, device: jax.Device) -> Weights:
    """Puts the parameters on a device; for a CPU, transforms the kernels."""
    params = jax.device_put(params, device)
    if device.platform != "cpu":
        return Weights(params, {})
    return Weights(*cpu_kernels.pre_transform(generator, latent_dim, params))


@functools.partial(jax.jit, static_argnums=(0, 1))
def generate_batch(
    generator: Generator, dtype: Pixels, weights: Weights, statistics: Tree, z: jax.Array, labels: jax.Array
) -> jax.Array:
    """Generates one batch of images with the weights on a device: u8 or f32[N, H, W, 3]."""
    # The generator is static and hashed by its fields: a new Sampler of an equal network compiles nothing.
    with cpu_kernels.convolving_with(weights.kernels):
        images = generate(generator, weights.params, statistics, z, labels)
    return to_pixels(images) if dtype == "uint8" else images.astype(jnp.float32)


def generate(
    generator: Generator, params: Tree, statistics: Tree, z: jax.Array, labels: jax.Array
) -> jax.Array:
    """Generates the images of latents with standing statistics.

    float32 is computed in full precision on every device; some devices would otherwise use fewer bits.

    Args:
      generator: The network.
      params: Its parameters, the weights divided by their σ.
      statistics: Standing statistics of its batch norms.
      z: f32[N, latent_dim].
      labels: i32[N], or weights of all classes f32[N, num_classes].

    Returns:
      f32[N, H, W, 3] in [-1, 1].
    """
    variables = {"params": params, "statistics": statistics}
    with jax.default_matmul_precision("highest"):
        return cast(jax.Array, generator.apply(variables, z, labels, stored_statistics=True))


def to_pixels(images: jax.Array) -> jax.Array:
    """Rounds images in [-1, 1] to u8."""
    return jnp.round((images + 1) * 127.5).astype(jnp.uint8)
