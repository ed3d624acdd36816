"""The `model` section of a config for a network of which only the shapes are known."""

import math
from collections.abc import Sequence

from ml_collections import ConfigDict

from biggan_jax.config import default_config
from biggan_jax.models.architecture import (
    DISCRIMINATOR_CHANNELS,
    DISCRIMINATOR_DOWNSAMPLE,
    GENERATOR_CHANNELS,
    INITIAL_RESOLUTION,
    resolve,
)
from biggan_jax.runtime.errors import UserError

LARGEST_RESOLUTION = 8192


def model_section(
    source: str,
    *,
    deep: bool,
    widths: Sequence[int],
    discriminator_widths: Sequence[int] = (),
    num_classes: int,
    latent_dim: int,
    class_embedding_dim: int,
    hierarchical: bool,
    attention_resolution: int,
    epsilon: float,
) -> ConfigDict:
    """A `model` section, in the paper's tables where those fit.

    Args:
      source: what errors call the file.
      deep: BigGAN-deep, or BigGAN.
      widths: of the generator's feature maps from 4×4 upward, one a resolution, in channels.
      discriminator_widths: as `model.discriminator_channels` has them, but in channels; none where there is
        no discriminator.
      num_classes, latent_dim, attention_resolution, epsilon: as the section has them.
      class_embedding_dim: length of the shared class embedding; 0 where batch norms have tables by class.
      hierarchical: whether the latent is split into chunks.

    Raises:
      UserError: there is no such network here.
    """
    if any(size < 1 for size in (*widths, *discriminator_widths, num_classes, latent_dim)):
        raise UserError(
            f"{source}: layers without channels, or no classes, or no latents; get the file again"
        )
    model = default_config().model
    model.architecture = "biggan_deep" if deep else "biggan"
    model.resolution = resolution = INITIAL_RESOLUTION << (len(widths) - 1)
    if resolution > LARGEST_RESOLUTION:
        raise UserError(f"{source}: {len(widths) - 1} doublings of 4 px; get the file again")
    model.num_classes, model.latent_dim = num_classes, latent_dim
    model.shared_embedding = class_embedding_dim > 0
    if class_embedding_dim:
        model.class_embedding_dim = class_embedding_dim
    model.hierarchical_latents = hierarchical
    model.attention_resolution = attention_resolution
    model.epsilon = epsilon

    known, opponents = GENERATOR_CHANNELS.get(resolution), DISCRIMINATOR_CHANNELS.get(resolution)
    if not discriminator_widths and opponents is None:
        discriminator_widths = tuple(reversed(widths))  # the section describes a pair; this one mirrors G
    channels = math.gcd(*widths, *discriminator_widths)
    if known and widths[-1] % known[-1] == 0:
        unit = widths[-1] // known[-1]
        if tuple(widths) == _times(known, unit) and not any(width % unit for width in discriminator_widths):
            channels, widths = unit, ()
    if opponents and tuple(discriminator_widths) == _times(opponents, channels):
        discriminator_widths = ()
    elif discriminator_widths and not deep:
        model.discriminator_downsample = DISCRIMINATOR_DOWNSAMPLE.get(resolution, ())
    model.channels = channels
    model.generator_channels = tuple(width // channels for width in widths)
    model.discriminator_channels = tuple(width // channels for width in discriminator_widths)
    try:
        resolve(model)
    except ValueError as error:
        raise UserError(f"{source} is of a network that is not built here: {error}") from error
    return model


def _times(table: Sequence[int], unit: int) -> tuple[int, ...]:
    return tuple(unit * multiple for multiple in table)
