"""Builds the networks that the `model` section of a config describes."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from biggan_jax.models.architecture import conditioning_name, resolve
from biggan_jax.models.conditioning import CONDITIONINGS, Conditioning
from biggan_jax.models.discriminator import Discriminator
from biggan_jax.models.generator import Generator
from biggan_jax.models.layers import BatchNormSettings


def make_generator(model: ConfigDict, axis_name: str | None = None, batch_norm_group: int = 0) -> Generator:
    """Builds the generator.

    Args:
      model: The `model` section, see `config.default_config`.
      axis_name: Mapped axis over which batch norm averages its statistics; None for a single replica.
      batch_norm_group: Number of images that share batch statistics; 0 for all (`layers.BatchNormSettings`).

    Returns:
      A Flax module; see `Generator.__call__`.

    Raises:
      ValueError: If the fields describe no network; the message names the field, its value and the remedy.
    """
    return Generator(
        architecture=resolve(model),
        conditioning=_make_conditioning(model),
        batch_norm=BatchNormSettings(model.epsilon, axis_name, batch_norm_group),
        dtype=jnp.dtype(model.dtype),
        remat=model.remat,
    )


def make_discriminator(model: ConfigDict) -> Discriminator:
    """Builds the discriminator; raises as `make_generator`."""
    return Discriminator(
        architecture=resolve(model),
        num_classes=model.num_classes,
        dtype=jnp.dtype(model.dtype),
        remat=model.remat,
    )


def _make_conditioning(model: ConfigDict) -> Conditioning:
    name = conditioning_name(model)
    if name not in CONDITIONINGS:
        raise ValueError(f"model.conditioning = {name!r}: choose one of {tuple(CONDITIONINGS)}")
    return CONDITIONINGS[name](
        num_classes=model.num_classes,
        class_embedding_dim=model.class_embedding_dim,
        hierarchical_latents=model.hierarchical_latents,
        deep=model.architecture == "biggan_deep",
        dtype=jnp.dtype(model.dtype),
    )
