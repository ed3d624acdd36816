"""The `model` section of a config, from the shapes of a network."""

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
    """Returns a `model` section, with the paper's tables of widths if they fit.

    Args:
      source: Name of the file in errors.
      deep: Whether the network is BigGAN-deep.
      widths: Widths of the generator's feature maps from 4×4 upward, one for each resolution, in channels.
      discriminator_widths: Widths as in `model.discriminator_channels`, in channels; empty for no D.
      num_classes: Number of classes.
      latent_dim: Length of a latent.
      class_embedding_dim: Length of the shared class embedding; 0 if batch norms have tables by class.
      hierarchical: Whether the latent is split into chunks.
      attention_resolution: Resolution of the attention; 0 for none.
      epsilon: Epsilon of batch norm and spectral norm.

    Raises:
      UserError: If the network is not supported.
    """
    if any(size < 1 for size in (*widths, *discriminator_widths, num_classes, latent_dim)):
        raise UserError(
            f"{source}: a layer has no channels, or there are no classes or latents; get the file again"
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
        discriminator_widths = tuple(reversed(widths))  # The section describes a pair; this D mirrors G.
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
        raise UserError(f"{source} holds a network that is not supported: {error}") from error
    return model


def _times(table: Sequence[int], unit: int) -> tuple[int, ...]:
    return tuple(unit * multiple for multiple in table)
