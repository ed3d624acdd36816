"""Drawing images from an averaged generator: spectral norm divided in, batch norm by standing statistics.

On all devices of this process: each works on whole batches, one after another, so their number changes no
pixel. Processes share work by drawing different positions of the same sequence.
"""

import collections
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.models import Generator, make_generator
from biggan_jax.models.spectral_norm import Tree, normalize, power_iteration
from biggan_jax.sampling.latents import draw_labels, draw_latents


class Sampler:
    """A generator that is ready to draw.

    Attributes:
      weights: the parameters, every weight divided by its σ.
      statistics: batch norm's standing statistics (flax collection).
    """

    def __init__(
        self,
        config: Any,
        params: Tree,
        u: dict[str, jax.Array],
        truncation: float | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        """Divides the weights and gathers the statistics.

        Args:
          config: the whole config; `sampling` says how many passes, of what size, at which truncation.
          params: the generator's parameters, usually the averaged ones.
          u: spectral norm's vectors, as training left them.
          truncation: in place of `config.sampling.truncation`.
          devices: of this process; all of them if None.
        """
        self._model, self._batch_size = config.model, config.sampling.batch_size
        self._devices = list(jax.local_devices() if devices is None else devices)
        self.truncation = config.sampling.truncation if truncation is None else truncation
        self._generator = make_generator(config.model)
        self.weights = jax.device_get(_frozen(params, u, config.model.epsilon))
        self._placed = [jax.device_put(self.weights, device) for device in self._devices]
        self.statistics = self._standing_statistics(config.sampling.standing_passes, config.seed)
        self._placed = [
            (weights, jax.device_put(self.statistics, device))
            for weights, device in zip(self._placed, self._devices, strict=True)
        ]

    def draw(self, labels: Sequence[int] | np.ndarray, seed: int = 0, start: int = 0) -> np.ndarray:
        """Draws one image for each label, the latents from (seed, position): u8[N, H, W, 3].

        Args:
          labels: i32[N].
          seed: of the sequence of latents.
          start: the first label's position in it, so that a sequence can be drawn in parts.
        """
        labels = np.asarray(labels, np.int32)
        return self.images(self._latents(jax.random.key(seed), start, len(labels)), labels)

    def images(self, z: np.ndarray | jax.Array, labels: Sequence[int] | np.ndarray) -> np.ndarray:
        """Draws the images of given latents, `sampling.batch_size` at once.

        Args:
          z: f32[N, latent_dim].
          labels: i32[N].

        Returns:
          u8[N, H, W, 3], pixels 0 to 255.

        Raises:
          ValueError: shapes that don't fit, or a label out of range.
        """
        z, labels = np.asarray(z, np.float32), np.asarray(labels, np.int32)
        if labels.ndim != 1 or z.shape != (len(labels), self._model.latent_dim):
            raise ValueError(
                f"latents of shape {z.shape} with labels of shape {labels.shape}: must be "
                f"[N, {self._model.latent_dim}] and [N]"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < self._model.num_classes:
            raise ValueError(
                f"labels from {labels.min()} to {labels.max()}: must be in 0 to {self._model.num_classes - 1}"
            )
        size = self._model.resolution
        images = np.zeros((len(labels), size, size, 3), np.uint8)
        at_work: collections.deque[tuple[int, jax.Array]] = collections.deque()
        for number, start in enumerate(range(0, len(labels), self._batch_size)):
            if len(at_work) == 2 * len(self._devices):
                _collect(images, *at_work.popleft())
            part = slice(start, start + self._batch_size)
            missing = max(0, start + self._batch_size - len(labels))  # padded: one compiled size serves all
            place = number % len(self._devices)
            inputs = (np.pad(z[part], ((0, missing), (0, 0))), np.pad(labels[part], (0, missing)))
            inputs = jax.device_put(inputs, self._devices[place])
            at_work.append((start, _draw(self._generator, *self._placed[place], *inputs)))
        while at_work:
            _collect(images, *at_work.popleft())
        return images

    def _latents(self, key: jax.Array, start: int, count: int) -> jax.Array:
        model = self._model
        indices = start + jnp.arange(count)
        return draw_latents(key, indices, model.latent_dim, model.latent_distribution, self.truncation)

    def _standing_statistics(self, passes: int, seed: int) -> Tree:
        """Batch norm's means and variances, averaged over passes of fresh latents and labels.

        Brock et al. 2019, section 4 and appendix D: gathered at the truncation in use, since truncated
        latents have other activations.
        """
        total: Tree | None = None
        at_work: collections.deque[Tree] = collections.deque()
        for number, key in enumerate(jax.random.split(jax.random.key(seed), passes)):
            z_key, label_key = jax.random.split(key)
            z = self._latents(z_key, 0, self._batch_size)
            labels = draw_labels(label_key, jnp.arange(self._batch_size), self._model.num_classes)
            place = number % len(self._devices)
            inputs = jax.device_put((z, labels), self._devices[place])
            at_work.append(_batch_statistics(self._generator, self._placed[place], *inputs))
            if len(at_work) == 2 * len(self._devices) or number == passes - 1:
                for statistics in jax.device_get(list(at_work)):  # in order: sums of floats depend on it
                    total = statistics if total is None else jax.tree.map(np.add, total, statistics)
                at_work.clear()
        return jax.tree.map(lambda x: x / np.float32(passes), total)


def fixed_latents(config: Any, rows: int, classes: Sequence[int], seed: int) -> tuple[jax.Array, np.ndarray]:
    """Latents and labels of a sheet, row by row: every row has one latent, every column one class.

    Returns:
      `z: f32[rows * len(classes), latent_dim]` and `labels: i32[rows * len(classes)]`.
    """
    model = config.model
    z = draw_latents(
        jax.random.key(seed),
        jnp.arange(rows),
        model.latent_dim,
        model.latent_distribution,
        config.sampling.truncation,
    )
    return jnp.repeat(z, len(classes), axis=0), np.tile(np.asarray(classes, np.int32), rows)


def _collect(images: np.ndarray, start: int, batch: jax.Array) -> None:
    images[start : start + batch.shape[0]] = np.asarray(batch)[: len(images) - start]


# The generator is static, and equal ones hash alike: a new Sampler of the same network compiles nothing.


@jax.jit
def _frozen(params: Tree, u: dict[str, jax.Array], epsilon: float) -> Tree:
    return normalize(params, power_iteration(params, u, epsilon), epsilon)


@functools.partial(jax.jit, static_argnums=0)
def _batch_statistics(generator: Generator, weights: Tree, z: jax.Array, labels: jax.Array) -> Tree:
    return generator.apply({"params": weights}, z, labels, mutable=["statistics"])[1]["statistics"]


@functools.partial(jax.jit, static_argnums=0)
def _draw(
    generator: Generator, weights: Tree, statistics: Tree, z: jax.Array, labels: jax.Array
) -> jax.Array:
    images = generator.apply({"params": weights, "statistics": statistics}, z, labels, stored_statistics=True)
    return jnp.round((images + 1) * 127.5).astype(jnp.uint8)
