"""Drawing images from a generator that is ready: in Python, by class names, seeds and truncations.

On all devices of this process: each works on whole batches, one after another, so their number changes no
pixel. Processes share work by drawing different positions of the same sequence.
"""

import collections
import difflib
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.models.networks import Generator, make_generator
from biggan_jax.models.spectral_norm import Tree
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling import cpu_kernels
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.latents import sample_latents
from biggan_jax.sampling.truncation import (
    TruncationKind,
    refuse_impossible,
    spread,
    statistics_at,
    untruncated,
)

Class = int | str
Pixels = Literal["uint8", "float32"]

TRUNCATIONS_KEPT = 8  # statistics on the devices
LARGEST_BATCH = 256
# Feature maps of the widest layer that are alive at once, and the memory to spend on them.
MAPS_ALIVE = 6
CPU_BYTES = 2**28
DEVICE_SHARE = 0.25


class Sampler:
    """A generator that is ready to draw; `biggan_jax.load` gives one.

    Attributes:
      class_names: one for each label, or none if they are not known.
      num_classes: labels are 0 … num_classes - 1.
      resolution: pixels a side.
      latent_dim: length of a latent.
      truncation: the one that is used where none is asked for: none at all if there are statistics for it.
      truncations: those that there are statistics for, from the narrowest latents to the widest; between two
        of them, statistics are interpolated.
      truncation_kind: "threshold" or "scale", see `sampling.truncation`.
      provenance: what the weights came of.
    """

    def __init__(
        self,
        exported: ExportedGenerator,
        *,
        batch_size: int | None = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        """Puts the weights on the devices.

        Args:
          exported: the generator.
          batch_size: images that a device draws at once; what is asked for is filled up to whole batches, so
            that an image is the same, bit for bit, whatever it is drawn with. None for as many as are asked
            for, up to what the memory allows: quicker for a few, and equal but for float32 rounding.
          devices: of this process; all of them if None.

        Raises:
          UserError: it has no statistics at all.
        """
        if not exported.statistics:
            raise UserError(
                "this generator has no standing statistics, which batch norm needs to draw: export or import "
                "it again with --truncations"
            )
        model, self._exported = exported.model, exported
        self._devices = list(jax.local_devices() if devices is None else devices)
        self._batch_size, self._largest = batch_size, largest_batch(model, self._devices[0])
        self._generator, self._distribution = make_generator(model), model.latent_distribution
        self._weights = [
            _place(self._generator, model.latent_dim, exported.params, device) for device in self._devices
        ]
        self._statistics: dict[float, list[Tree]] = {}
        self.class_names, self.num_classes = exported.class_names, model.num_classes
        self.resolution, self.latent_dim = model.resolution, model.latent_dim
        self.truncation_kind: TruncationKind = exported.truncation_kind
        self.truncations = tuple(
            sorted(exported.statistics, key=lambda stored: spread(self.truncation_kind, stored))
        )
        whole = untruncated(self.truncation_kind)
        self.truncation = whole if whole in self.truncations else self.truncations[-1]
        self.provenance: Mapping[str, Any] = exported.provenance

    def sample(
        self,
        classes: Class | Sequence[Class] | np.ndarray,
        truncation: float | None = None,
        seed: int = 0,
        start: int = 0,
        dtype: Pixels = "uint8",
    ) -> np.ndarray:
        """Draws one image for each class, the latents from (seed, position).

        Args:
          classes: names or numbers, [N].
          truncation: of the latents; None for `self.truncation`.
          seed: of the sequence of latents.
          start: the first image's position in it, so that a sequence can be drawn in parts.
          dtype: "uint8" for pixels from 0 to 255, "float32" for -1 to 1.

        Returns:
          u8 or f32[N, H, W, 3].

        Raises:
          UserError: no such class, truncation or type.
        """
        labels = self.labels(classes)
        z = self.latents(len(labels), truncation, seed, start)
        return self.images(z, labels, truncation, dtype)

    def latents(
        self, count: int, truncation: float | None = None, seed: int = 0, start: int = 0
    ) -> np.ndarray:
        """Latents of the sequence that `seed` names, from position `start` on: f32[count, latent_dim]."""
        truncation = self.truncation if truncation is None else truncation
        refuse_impossible(self.truncation_kind, truncation, self._distribution)
        indices = start + jnp.arange(count)
        key = jax.random.key(seed)
        return np.asarray(
            sample_latents(
                key, indices, self.latent_dim, self._distribution, truncation, self.truncation_kind
            )
        )

    def labels(self, classes: Class | Sequence[Class] | np.ndarray) -> np.ndarray:
        """Names and numbers of classes as labels: i32[N].

        Raises:
          UserError: no such class, with those of a similar name.
        """
        if isinstance(classes, str | int | np.integer):
            classes = [classes]
        return np.asarray([self._label(one) for one in classes], np.int32)

    def images(
        self,
        z: np.ndarray | jax.Array,
        classes: Class | Sequence[Class] | np.ndarray,
        truncation: float | None = None,
        dtype: Pixels = "uint8",
    ) -> np.ndarray:
        """Draws the images of given latents.

        Args:
          z: f32[N, latent_dim].
          classes: names or numbers, [N], or weights of all classes, f32[N, num_classes], whose embeddings are
            mixed so.
          truncation: what the statistics are to be of; `z` is taken as it is.
          dtype: as for `sample`.

        Returns:
          u8 or f32[N, H, W, 3].

        Raises:
          UserError: shapes that don't fit, or no such class, truncation or type.
        """
        if dtype not in ("uint8", "float32"):
            raise UserError(f"dtype = {dtype!r}: choose 'uint8' or 'float32'")
        truncation = self.truncation if truncation is None else truncation
        refuse_impossible(self.truncation_kind, truncation, self._distribution)
        statistics = self._placed_statistics(truncation)
        z, mixed = np.asarray(z, np.float32), np.ndim(classes) == 2
        labels = np.asarray(classes, np.float32) if mixed else self.labels(classes)
        if z.shape != (len(labels), self.latent_dim) or (mixed and labels.shape[1] != self.num_classes):
            raise UserError(
                f"latents of shape {z.shape} with classes of shape {labels.shape}: must be [N, "
                f"{self.latent_dim}] with [N], or with weights [N, {self.num_classes}]"
            )
        size = self._batch_size or min(self._largest, 1 << max(0, len(z) - 1).bit_length())
        images = np.zeros((len(z), self.resolution, self.resolution, 3), dtype)
        at_work: collections.deque[tuple[int, jax.Array]] = collections.deque()
        for number, start in enumerate(range(0, len(z), size)):
            if len(at_work) == 2 * len(self._devices):
                _collect(images, *at_work.popleft())
            inputs = (_filled_up(array[start : start + size], size) for array in (z, labels))
            place = number % len(self._devices)
            inputs = jax.device_put(tuple(inputs), self._devices[place])
            batch = _generate_batch(self._generator, dtype, self._weights[place], statistics[place], *inputs)
            at_work.append((start, batch))
        while at_work:
            _collect(images, *at_work.popleft())
        return images

    def interpolate(
        self,
        classes: tuple[Class, Class],
        seeds: tuple[int, int] = (0, 1),
        steps: int = 8,
        truncation: float | None = None,
        dtype: Pixels = "uint8",
        *,
        z: np.ndarray | None = None,
    ) -> np.ndarray:
        """Images on the straight way from one latent and class to another (Brock et al. 2019, figure 8).

        Args:
          classes: where it begins and ends; the same one twice to change the latent alone.
          seeds: of the two latents; the same one twice to change the class alone.
          steps: images, the two ends included; at least 2.
          truncation, dtype: as for `sample`.
          z: the two latents, f32[2, latent_dim], in place of seeds.

        Returns:
          u8 or f32[steps, H, W, 3].

        Raises:
          UserError: as for `sample`, or fewer than two steps.
        """
        if steps < 2:
            raise UserError(f"steps = {steps}: give 2 or more, for the two ends")
        if z is None:
            z = np.concatenate([self.latents(1, truncation, seed) for seed in seeds])
        weights = np.eye(self.num_classes, dtype=np.float32)[self.labels(list(classes))]
        share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        mix = (1 - share, share)
        return self.images(*(mix[0] * ends[0] + mix[1] * ends[1] for ends in (z, weights)), truncation, dtype)

    def name(self, label: int) -> str:
        """The class's name, or `class 7`."""
        return self.class_names[label] if self.class_names else f"class {label}"

    def _label(self, one: Class) -> int:
        if isinstance(one, int | np.integer) and not isinstance(one, bool):
            if not 0 <= one < self.num_classes:
                raise UserError(f"class {one}: there are classes 0 to {self.num_classes - 1}")
            return int(one)
        if not isinstance(one, str):
            raise UserError(f"class {one!r}: give a number or a name")
        if not self.class_names:
            raise UserError(f"class {one!r}: the names of these classes are not known; give numbers")
        wanted = one.strip().casefold()
        names = [name.casefold() for name in self.class_names]
        found = [label for label, name in enumerate(names) if name == wanted]
        # ImageNet's names are lists of synonyms: "tench, Tinca tinca".
        found = found or [
            label for label, name in enumerate(names) if wanted in map(str.strip, name.split(","))
        ]
        if not found:
            near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
            near += [name for name in names if wanted in name and name not in near][:3]
            listed = near or names[:10]
            hint = "did you mean" if near else "there are, for example," if len(names) > 10 else "there are"
            given = ", ".join(repr(self.class_names[names.index(name)]) for name in listed)
            raise UserError(f"class {one!r} is not known; {hint} {given}")
        if len(found) > 1:
            raise UserError(f"class {one!r} is the name of {', '.join(map(str, found))}: give the number")
        return found[0]

    def _placed_statistics(self, truncation: float) -> list[Tree]:
        """Batch norm's statistics on each device; the last few truncations' are kept there."""
        if truncation not in self._statistics:
            found = statistics_at(self._exported.statistics, self.truncation_kind, truncation)
            if len(self._statistics) == TRUNCATIONS_KEPT:
                del self._statistics[next(iter(self._statistics))]
            self._statistics[truncation] = [jax.device_put(found, device) for device in self._devices]
        return self._statistics[truncation]


def largest_batch(model: Any, device: jax.Device) -> int:
    """How many images a device draws at once: a power of two, by the size of the widest feature map."""
    blocks = make_generator(model).architecture.generator_blocks
    largest = max(block.resolution**2 * max(block.in_channels, block.out_channels) for block in blocks)
    limit = (device.memory_stats() or {}).get("bytes_limit") if device.platform != "cpu" else None
    budget = DEVICE_SHARE * limit if limit else CPU_BYTES
    count = int(budget / (4 * MAPS_ALIVE * largest))
    return min(LARGEST_BATCH, 1 << max(0, count.bit_length() - 1))


def _filled_up(array: np.ndarray, size: int) -> np.ndarray:
    """Padded with zeros to `size` rows: one compiled size serves all."""
    return np.pad(array, ((0, size - len(array)), *[(0, 0)] * (array.ndim - 1)))


def _collect(images: np.ndarray, start: int, batch: jax.Array) -> None:
    images[start : start + batch.shape[0]] = np.asarray(batch)[: len(images) - start]


class _Weights(NamedTuple):
    """Weights of the generator on one device.

    Attributes:
      params: Parameters.
      kernels: Pre-transformed kernels in place of some parameters; on CPUs alone.
    """

    params: Tree
    kernels: cpu_kernels.Kernels


def _place(generator: Generator, latent_dim: int, params: Tree, device: jax.Device) -> _Weights:
    params = jax.device_put(params, device)
    if device.platform != "cpu":
        return _Weights(params, {})
    return _Weights(*cpu_kernels.pre_transform(generator, latent_dim, params))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _generate_batch(
    generator: Generator, dtype: Pixels, weights: _Weights, statistics: Tree, z: jax.Array, labels: jax.Array
) -> jax.Array:
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
        return generator.apply(variables, z, labels, stored_statistics=True)


def to_pixels(images: jax.Array) -> jax.Array:
    """[-1, 1] to u8, rounded."""
    return jnp.round((images + 1) * 127.5).astype(jnp.uint8)
