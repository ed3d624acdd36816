"""The input of D: images after augmentation, their labels, and the dropout mask of its last features."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from biggan_jax.training.step.augmentation import augment


class DiscriminatorInput(NamedTuple):
    """Arguments of D for N images.

    Attributes:
      images: f32[N, H, W, 3] in [-1, 1], augmented.
      labels: i32[N].
      mask: f32[N, features], factors for the features before D's last layer; None without dropout.
    """

    images: jax.Array
    labels: jax.Array
    mask: jax.Array | None


def discriminator_input(
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    indices: jax.Array,
    augmentation: Sequence[str] = (),
    dropout: float = 0.0,
    features: int = 0,
) -> DiscriminatorInput:
    """Augments images and draws their dropout masks; real and generated images are treated alike.

    Args:
      images: f32[N, H, W, 3] in [-1, 1].
      labels: i32[N].
      key: Key of this update's images of this kind.
      indices: i32[N], positions in the global batch. An image's randomness is a function of key and index.
      augmentation: Names of policies in `augmentation.POLICIES`.
      dropout: Chance that a feature is dropped.
      features: Number of features before D's last layer.
    """
    augment_key, dropout_key = jax.random.split(key)
    if augmentation:
        images = augment(images, keys_of(augment_key, indices), augmentation)
    mask = dropout_mask(keys_of(dropout_key, indices), features, dropout) if dropout else None
    return DiscriminatorInput(images, labels, mask)


def keys_of(key: jax.Array, indices: jax.Array) -> jax.Array:
    """Returns one key for each image, derived from its index in the global batch."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)


def dropout_mask(keys: jax.Array, features: int, rate: float) -> jax.Array:
    """Draws factors for the features before D's last layer (Srivastava et al. 2014; Brock, section 4.2).

    Args:
      keys: Typed JAX keys [N], one for each image, which alone decides the image's factors.
      features: Number of features of an image.
      rate: Chance that a feature is dropped.

    Returns:
      f32[N, features] of 0 and 1 / (1 − rate), with mean 1.

    Raises:
      ValueError: `rate` is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout rate = {rate}: give a chance of at least 0 and below 1; 0 drops nothing")
    chance = jnp.float32(1 - rate)
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, chance, (features,)))(keys)
    return kept / chance
