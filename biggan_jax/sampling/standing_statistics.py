"""Preparation of a trained generator for sampling: weights divided by σ, and standing statistics."""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from biggan_jax.models.generator import Generator
from biggan_jax.models.networks import make_generator
from biggan_jax.models.spectral_norm import Tree, normalize, power_iteration
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.latents import sample_labels, sample_latents
from biggan_jax.sampling.truncation import TruncationKind


def prepare_generator(
    config: ConfigDict,
    params: Tree,
    u: dict[str, jax.Array],
    truncations: Sequence[float] | None = None,
    *,
    devices: Sequence[jax.Device] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> ExportedGenerator:
    """Divides the weights of a generator by their σ and gathers its standing statistics.

    Args:
      config: The whole config; its section `sampling` gives number and size of the passes.
      params: Parameters of the generator, usually the averaged ones.
      u: Vectors of spectral norm from training.
      truncations: Thresholds to gather statistics at; None for `config.sampling.truncation`.
      devices: Devices of this process; all of them if None.
      advance: Function to call after each pass.
    """
    frozen = jax.device_get(_frozen(params, u, config.model.epsilon))
    statistics = {
        truncation: standing_statistics(
            config.model,
            frozen,
            truncation,
            passes=config.sampling.standing_passes,
            batch_size=config.sampling.batch_size,
            seed=config.seed,
            devices=devices,
            advance=advance,
        )
        for truncation in ([config.sampling.truncation] if truncations is None else truncations)
    }
    return ExportedGenerator(
        model=config.model, params=frozen, statistics=statistics, truncation_kind="threshold"
    )


def standing_statistics(
    model: ConfigDict,
    params: Tree,
    truncation: float,
    *,
    passes: int,
    batch_size: int,
    seed: int,
    kind: TruncationKind = "threshold",
    devices: Sequence[jax.Device] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Tree:
    """Averages the batch statistics of all batch norms over passes of fresh latents and labels, in float32.

    Brock et al. 2019, appendix C.1. The latents have the truncation that sampling will use,
    because the activations depend on it. Each device computes whole passes, and their results are added in
    order: the number of devices changes no bit.

    Args:
      model: `model` section of a config.
      params: Parameters of the generator, weights divided by their σ.
      truncation: Truncation of the latents, see `sampling.truncation`.
      passes: Number of passes.
      batch_size: Images in a pass.
      seed: Seed of the latents and labels.
      kind: Meaning of `truncation`.
      devices: Devices of this process; all of them if None.
      advance: Function to call after each pass.
    """
    devices = list(jax.local_devices() if devices is None else devices)
    generator = make_generator(model)
    placed = [jax.device_put(params, device) for device in devices]
    indices = jnp.arange(batch_size)
    total: Tree | None = None
    in_flight: collections.deque[Tree] = collections.deque()
    for number, key in enumerate(jax.random.split(jax.random.key(seed), passes)):
        z_key, label_key = jax.random.split(key)
        z = sample_latents(z_key, indices, model.latent_dim, model.latent_distribution, truncation, kind)
        labels = sample_labels(label_key, indices, model.num_classes)
        place = number % len(devices)
        in_flight.append(
            _batch_statistics(generator, placed[place], *jax.device_put((z, labels), devices[place]))
        )
        while len(in_flight) == 2 * len(devices) or (in_flight and number == passes - 1):
            batch_statistics = jax.device_get(in_flight.popleft())
            total = batch_statistics if total is None else jax.tree.map(np.add, total, batch_statistics)
            advance()
    return jax.tree.map(lambda x: x / np.float32(passes), total)


# The generator is static and hashed by its fields: an equal network compiles nothing anew.


@jax.jit
def _frozen(params: Tree, u: dict[str, jax.Array], epsilon: float) -> Tree:
    return normalize(params, power_iteration(params, u, epsilon), epsilon)


@functools.partial(jax.jit, static_argnums=0)
def _batch_statistics(generator: Generator, weights: Tree, z: jax.Array, labels: jax.Array) -> Tree:
    with jax.default_matmul_precision("highest"):
        _, stored = generator.apply({"params": weights}, z, labels, mutable=["statistics"])
    return cast(Tree, stored["statistics"])
