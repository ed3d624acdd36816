"""A run's averaged generator made ready to draw: weights divided by σ, and standing statistics."""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.models.generator import Generator
from biggan_jax.models.networks import make_generator
from biggan_jax.models.spectral_norm import Tree, normalize, power_iteration
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.latents import sample_labels, sample_latents
from biggan_jax.sampling.truncation import TruncationKind


def prepare_generator(
    config: Any,
    params: Tree,
    u: dict[str, jax.Array],
    truncations: Sequence[float] | None = None,
    *,
    devices: Sequence[jax.Device] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> ExportedGenerator:
    """Divides a generator's weights and gathers its statistics.

    Args:
      config: the whole config; `sampling` says how many passes, and of what size.
      params: the generator's parameters, usually the averaged ones.
      u: spectral norm's vectors, as training left them.
      truncations: thresholds to gather statistics at; None for `config.sampling.truncation`.
      devices: of this process; all of them if None.
      advance: is called after each pass.
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
    model: Any,
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
    """Batch norm's means and variances, averaged over passes of fresh latents and labels, in float32.

    Brock et al. 2019, section 4 and appendix D: gathered at the truncation in use, since truncated latents
    have other activations. Each device takes whole passes, and they are added up in order: the number of
    devices changes no bit.

    Args:
      model: the `model` section of a config.
      params: the generator's parameters, weights divided by their σ.
      truncation, kind: of the latents, see `sampling.truncation`.
      passes: how many, of `batch_size` images each.
      seed: of the latents and labels.
      devices: of this process; all of them if None.
      advance: is called after each pass.
    """
    devices = list(jax.local_devices() if devices is None else devices)
    generator = make_generator(model)
    placed = [jax.device_put(params, device) for device in devices]
    indices = jnp.arange(batch_size)
    total: Tree | None = None
    at_work: collections.deque[Tree] = collections.deque()
    for number, key in enumerate(jax.random.split(jax.random.key(seed), passes)):
        z_key, label_key = jax.random.split(key)
        z = sample_latents(z_key, indices, model.latent_dim, model.latent_distribution, truncation, kind)
        labels = sample_labels(label_key, indices, model.num_classes)
        place = number % len(devices)
        at_work.append(
            _batch_statistics(generator, placed[place], *jax.device_put((z, labels), devices[place]))
        )
        while len(at_work) == 2 * len(devices) or (at_work and number == passes - 1):
            found = jax.device_get(at_work.popleft())
            total = found if total is None else jax.tree.map(np.add, total, found)
            advance()
    return jax.tree.map(lambda x: x / np.float32(passes), total)


# The generator is static, and equal ones hash alike: of the same network nothing is compiled twice.


@jax.jit
def _frozen(params: Tree, u: dict[str, jax.Array], epsilon: float) -> Tree:
    return normalize(params, power_iteration(params, u, epsilon), epsilon)


@functools.partial(jax.jit, static_argnums=0)
def _batch_statistics(generator: Generator, weights: Tree, z: jax.Array, labels: jax.Array) -> Tree:
    with jax.default_matmul_precision("highest"):
        return generator.apply({"params": weights}, z, labels, mutable=["statistics"])[1]["statistics"]
