"""Makes the networks that the `model` section of a config describes."""

from typing import Any

import jax.numpy as jnp

from biggan_jax.models.architecture import resolve
from biggan_jax.models.discriminator import Discriminator
from biggan_jax.models.generator import Generator
from biggan_jax.models.layers import BatchNormSettings


def make_generator(model: Any, axis_name: str | None = None, batch_norm_group: int = 0) -> Generator:
    """The generator that the `model` section of a config describes.

    Args:
      model: the section, see `config.default_config`.
      axis_name: the mapped axis over which batch norm takes its statistics; None for one replica alone.
      batch_norm_group: how many images share statistics, 0 for all (`layers.BatchNormSettings`).

    Raises:
      ValueError: no such architecture; names the field, its value and the remedy.
    """
    return Generator(
        architecture=resolve(model),
        num_classes=model.num_classes,
        class_embedding_dim=model.class_embedding_dim,
        shared_embedding=model.shared_embedding,
        hierarchical_latents=model.hierarchical_latents,
        batch_norm=BatchNormSettings(model.epsilon, axis_name, batch_norm_group),
        dtype=jnp.dtype(model.dtype),
        remat=model.remat,
    )


def make_discriminator(model: Any) -> Discriminator:
    """The discriminator that the `model` section of a config describes; raises as `make_generator`."""
    return Discriminator(
        architecture=resolve(model),
        num_classes=model.num_classes,
        dtype=jnp.dtype(model.dtype),
        remat=model.remat,
    )
