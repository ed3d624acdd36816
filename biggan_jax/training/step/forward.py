"""The networks in a step, and their forward passes on one micro-batch of one replica."""

import dataclasses
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import lax
from ml_collections import ConfigDict

from biggan_jax.config import names_in
from biggan_jax.models.discriminator import Discriminator
from biggan_jax.models.generator import Generator
from biggan_jax.models.spectral_norm import Tree
from biggan_jax.sampling.latents import sample_labels, sample_latents
from biggan_jax.training.step.discriminator_input import DiscriminatorInput, discriminator_input
from biggan_jax.training.step.gradients import LossFunction, Metrics, mean_gradient
from biggan_jax.training.step.losses import Loss


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """Everything that a step is made of besides its state and its batch.

    Attributes:
      config: The whole config.
      generator: G as a function of weights, latents and labels.
      discriminator: D as a function of weights and a `DiscriminatorInput`.
      loss: Losses of D and G.
      g_optimizer: Adam for G.
      d_optimizer: Adam for D.
      axis_name: Replica axis; None for one replica that is mapped over nothing.
      unroll: Whether loops are written out, see `gradients.scan`.
    """

    config: ConfigDict
    generator: Generator
    discriminator: Discriminator
    loss: Loss
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    axis_name: str | None
    unroll: bool

    @property
    def replica(self) -> jax.Array | int:
        """Number of this replica, from 0."""
        return 0 if self.axis_name is None else lax.axis_index(self.axis_name)

    @property
    def replicas(self) -> int:
        """Number of replicas."""
        return 1 if self.axis_name is None else lax.psum(1, self.axis_name)

    def indices(self, count: int) -> jax.Array:
        """Returns the positions of this replica's `count` images in the global batch: i32[count]."""
        return self.replica * count + jnp.arange(count)

    def mean_gradient(self, loss: LossFunction, weights: Tree, batch: Any) -> tuple[Tree, Metrics]:
        """Calls `gradients.mean_gradient` with the settings here."""
        return mean_gradient(loss, weights, batch, self.config.micro_batches, self.axis_name, self.unroll)


class Keys(NamedTuple):
    """Keys of one update of one network, each to be folded with an image's index in the global batch.

    Attributes:
      latents: Key of z.
      labels: Key of the generated images' labels.
      reals: Key of augmentation and dropout of real images.
      fakes: Key of augmentation and dropout of generated images.
    """

    latents: jax.Array
    labels: jax.Array
    reals: jax.Array
    fakes: jax.Array


class RealBatch(NamedTuple):
    """Real images of one update: this replica's part, or one micro-batch of it.

    Attributes:
      indices: i32[N], positions in the global batch.
      images: f32[N, H, W, 3] in [-1, 1].
      labels: i32[N].
    """

    indices: jax.Array
    images: jax.Array
    labels: jax.Array


def real_batch(settings: StepSettings, images: jax.Array, labels: jax.Array) -> RealBatch:
    """Makes the real batch of one update.

    If the loss is paired, each real image stands where the image that it is paired with is generated.
    Micro-batches are ranges of the global batch (see `generate`), so with several micro-batches on several
    replicas that may be another replica than the one that read it. Then the replicas exchange their images,
    and for a moment each holds the global batch as bytes.

    Args:
      settings: Settings of the step.
      images: u8[B, H, W, 3], this replica's part of the global batch.
      labels: i32[B].
    """
    count, parts = labels.shape[0], settings.config.micro_batches
    batch = RealBatch(settings.indices(count), images, labels)
    if settings.loss.paired and parts > 1 and settings.axis_name is not None:

        def mine(x: jax.Array) -> jax.Array:
            ranges = lax.all_gather(x, settings.axis_name, tiled=True)
            ranges = ranges.reshape(parts, settings.replicas, count // parts, *x.shape[1:])
            return ranges[:, settings.replica].reshape(x.shape)

        batch = jax.tree.map(mine, batch)
    return batch._replace(images=batch.images.astype(jnp.float32) / 127.5 - 1.0)


def generate(
    settings: StepSettings,
    weights: Tree,
    keys: Keys,
    micro_batch: jax.Array,
    count: int,
    labels: jax.Array | None = None,
) -> DiscriminatorInput:
    """Generates this replica's images of a micro-batch, as input for D.

    Args:
      settings: Settings of the step.
      weights: G's normalised weights.
      keys: Keys of this update.
      micro_batch: Number of the micro-batch, which is a range of the global batch.
      count: Number of images.
      labels: i32[count], labels of the images; None for random ones.
    """
    model = settings.config.model
    indices = (micro_batch * settings.replicas + settings.replica) * count + jnp.arange(count)
    z = sample_latents(keys.latents, indices, model.latent_dim, model.latent_distribution)
    if labels is None:
        labels = sample_labels(keys.labels, indices, model.num_classes)
    images = cast(jax.Array, settings.generator.apply({"params": weights}, z, labels))
    return as_input(settings, images, labels, keys.fakes, indices)


def logits_of(settings: StepSettings, weights: Tree, given: DiscriminatorInput) -> jax.Array:
    """Returns D's logits [N], each a function of its own image alone."""
    return cast(jax.Array, settings.discriminator.apply({"params": weights}, *given))


def as_input(
    settings: StepSettings, images: jax.Array, labels: jax.Array, key: jax.Array, indices: jax.Array
) -> DiscriminatorInput:
    """Augments images and draws their dropout masks, as the config says; see `discriminator_input`."""
    blocks = settings.discriminator.architecture.discriminator_blocks
    return discriminator_input(
        images,
        labels,
        key,
        indices,
        augmentation=names_in(settings.config.augmentation),
        dropout=settings.config.remedies.d_dropout,
        features=blocks[-1].out_channels,
    )
