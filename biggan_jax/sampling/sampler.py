"""Sampler: generates images by class names, seeds and truncations.

All devices of this process work on whole batches in turn, so their number changes no pixel. Several processes
share work by sampling different positions of the same sequence.
"""

import collections
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from biggan_jax.models.networks import make_generator
from biggan_jax.models.spectral_norm import Tree
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.ranges import SEED
from biggan_jax.runtime.text import one_line
from biggan_jax.sampling.class_names import Class, label_of
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.generation import Pixels, generate_batch, place_weights
from biggan_jax.sampling.latents import sample_latents
from biggan_jax.sampling.truncation import (
    TruncationKind,
    refuse_impossible,
    spread,
    statistics_at,
    untruncated,
)

LARGEST_LATENT = 1_000  # beyond it, products of latents overflow float32 and the images are noise
TRUNCATIONS_KEPT = 8  # truncations whose statistics stay on the devices
TRUNCATIONS_SHOWN = 4  # by `repr`
LARGEST_BATCH = 256
MAPS_ALIVE = 6  # feature maps of the widest layer that are in memory at the same time
CPU_BYTES = 2**28  # memory for these maps on a CPU
DEVICE_SHARE = 0.25  # share of other devices' memory for these maps


class Sampler:
    """A generator on the devices of this process; `biggan_jax.load` returns one.

    Attributes:
      architecture: "biggan" or "biggan_deep".
      class_names: One name for each label, or none if the names are unknown.
      num_classes: Number of classes; labels are 0 … num_classes - 1.
      resolution: Side of an image in pixels.
      latent_dim: Length of a latent.
      truncation: Default truncation: untruncated if statistics for it are stored, else the widest.
      truncations: Truncations with stored statistics, from the narrowest latents to the widest. Statistics
        between two of them are interpolated.
      truncation_kind: "threshold" or "scale", see `sampling.truncation`.
      provenance: Origin of the weights.
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
          exported: The generator.
          batch_size: Images in a batch of one device. Requests are padded to whole batches, so an image does
            not depend, bit for bit, on the other images of the request. None for batches of the size of the
            request, up to a limit by memory: faster for a few images, and equal up to float32 rounding.
          devices: Devices of this process; all of them if None.

        Raises:
          UserError: If the generator has no standing statistics.
        """
        if not exported.statistics:
            raise UserError(
                "this generator has no standing statistics, and batch norm needs them to sample: export or "
                "import it again with --truncations"
            )
        model, self._exported = exported.model, exported
        self._devices = list(jax.local_devices() if devices is None else devices)
        self._batch_size, self._largest = batch_size, largest_batch(model, self._devices[0])
        self._generator, self._distribution = make_generator(model), model.latent_distribution
        self._weights = [
            place_weights(self._generator, model.latent_dim, exported.params, device)
            for device in self._devices
        ]
        self._statistics: dict[float, list[Tree]] = {}
        self._statistics_lock = threading.Lock()  # a sampler serves several threads
        self.architecture = model.architecture
        self.class_names, self.num_classes = exported.class_names, model.num_classes
        self.resolution, self.latent_dim = model.resolution, model.latent_dim
        self.truncation_kind: TruncationKind = exported.truncation_kind
        self.truncations = tuple(
            sorted(exported.statistics, key=lambda stored: spread(self.truncation_kind, stored))
        )
        no_truncation = untruncated(self.truncation_kind)
        self.truncation = no_truncation if no_truncation in self.truncations else self.truncations[-1]
        self.provenance: Mapping[str, Any] = exported.provenance

    def __repr__(self) -> str:
        truncations = [f"{truncation:g}" for truncation in self.truncations]
        if len(truncations) > TRUNCATIONS_SHOWN:
            truncations = [*truncations[: TRUNCATIONS_SHOWN - 1], "…", truncations[-1]]
        batch_size = f"up to {self._largest}" if self._batch_size is None else self._batch_size
        devices = ", ".join(f"{device.platform}:{device.id}" for device in self._devices)
        return (
            f"Sampler({self.architecture}, {self.resolution} px, {self.num_classes} classes, "
            f"{self.truncation_kind} truncations {', '.join(truncations)}, batch size {batch_size}, "
            f"devices {devices})"
        )

    def sample(
        self,
        classes: Class | Sequence[Class] | np.ndarray,
        truncation: float | None = None,
        seed: int = 0,
        start: int = 0,
        dtype: Pixels = "uint8",
    ) -> np.ndarray:
        """Samples one image for each class; its latent depends on the seed and its position alone.

        Args:
          classes: Names or numbers of classes, [N].
          truncation: Truncation of the latents; None for `self.truncation`.
          seed: Seed of the sequence of latents.
          start: Position of the first image in the sequence, so that a sequence can be sampled in parts.
          dtype: "uint8" for pixels from 0 to 255, "float32" for -1 to 1.

        Returns:
          u8 or f32[N, H, W, 3].

        Raises:
          UserError: If a class, the truncation or the type is not available.
        """
        labels = self.labels(classes)
        z = self.latents(len(labels), truncation, seed, start)
        return self.images(z, labels, truncation, dtype)

    def latents(
        self, count: int, truncation: float | None = None, seed: int = 0, start: int = 0
    ) -> np.ndarray:
        """Returns latents of the sequence of `seed`, from position `start` on: f32[count, latent_dim]."""
        truncation = self.truncation if truncation is None else truncation
        refuse_impossible(self.truncation_kind, truncation, self._distribution)
        if remedy := SEED.remedy(seed, None):
            raise UserError(f"seed = {seed}: {remedy}")
        if start < 0 or start + count > 2**31:
            raise UserError(f"start = {start} for {count:,} latents: positions are 0 to 2**31 - 1")
        indices = start + jnp.arange(count)
        key = jax.random.key(seed)
        return np.asarray(
            sample_latents(
                key, indices, self.latent_dim, self._distribution, truncation, self.truncation_kind
            )
        )

    def labels(self, classes: Class | Sequence[Class] | np.ndarray) -> np.ndarray:
        """Converts names and numbers of classes to labels: i32[N].

        Raises:
          UserError: If a class is unknown; the message lists similar names.
        """
        if isinstance(classes, str | int | np.integer):
            classes = [classes]
        labels = [label_of(requested, self.class_names, self.num_classes) for requested in classes]
        return np.asarray(labels, np.int32)

    def images(
        self,
        z: np.ndarray | jax.Array,
        classes: Class | Sequence[Class] | np.ndarray,
        truncation: float | None = None,
        dtype: Pixels = "uint8",
    ) -> np.ndarray:
        """Generates the images of given latents.

        Args:
          z: f32[N, latent_dim].
          classes: Names or numbers of classes, [N], or weights f32[N, num_classes] that mix the classes.
          truncation: Truncation of the statistics; `z` is used as it is.
          dtype: As for `sample`.

        Returns:
          u8 or f32[N, H, W, 3].

        Raises:
          UserError: If the shapes disagree, a latent or weight is beyond `LARGEST_LATENT`, or a class, the
            truncation or the type is not available.
        """
        if dtype not in ("uint8", "float32"):
            raise UserError(f"dtype = {dtype!r}: choose 'uint8' or 'float32'")
        truncation = self.truncation if truncation is None else truncation
        refuse_impossible(self.truncation_kind, truncation, self._distribution)
        statistics = self._placed_statistics(truncation)
        with np.errstate(over="ignore"):  # 1e303 becomes infinite, which is refused below
            z, mixed = np.asarray(z, np.float32), np.ndim(classes) == 2
            labels = np.asarray(classes, np.float32) if mixed else self.labels(classes)
        if z.shape != (len(labels), self.latent_dim) or (mixed and labels.shape[1] != self.num_classes):
            raise UserError(
                f"latents of shape {z.shape} with classes of shape {labels.shape}: must be [N, "
                f"{self.latent_dim}] with [N], or with weights [N, {self.num_classes}]"
            )
        for name, array in (("latents", z), *([("weights", labels)] if mixed else [])):
            if array.size and not np.abs(array).max() <= LARGEST_LATENT:
                raise UserError(f"{name} up to {np.abs(array).max():g}: give them within ±{LARGEST_LATENT:,}")
        size = self._batch_size or min(self._largest, 1 << max(0, len(z) - 1).bit_length())
        images = np.zeros((len(z), self.resolution, self.resolution, 3), dtype)
        in_flight: collections.deque[tuple[int, jax.Array]] = collections.deque()
        for number, start in enumerate(range(0, len(z), size)):
            if len(in_flight) == 2 * len(self._devices):
                _collect(images, *in_flight.popleft())
            inputs = (_padded(array[start : start + size], size) for array in (z, labels))
            place = number % len(self._devices)
            inputs = jax.device_put(tuple(inputs), self._devices[place])
            batch = generate_batch(self._generator, dtype, self._weights[place], statistics[place], *inputs)
            in_flight.append((start, batch))
        while in_flight:
            _collect(images, *in_flight.popleft())
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
        """Interpolates linearly between two latents and classes (Brock et al. 2019, figures 8 and 9).

        Args:
          classes: Class of the first and of the last image; equal to change the latent alone.
          seeds: Seeds of the two latents; equal to change the class alone.
          steps: Number of images, both ends included; at least 2.
          truncation: As for `sample`.
          dtype: As for `sample`.
          z: The two latents, f32[2, latent_dim], in place of seeds.

        Returns:
          u8 or f32[steps, H, W, 3].

        Raises:
          UserError: As for `sample`, or if `steps` is below 2.
        """
        if steps < 2:
            raise UserError(f"steps = {steps}: give 2 or more, for the two ends")
        if z is None:
            z = np.concatenate([self.latents(1, truncation, seed) for seed in seeds])
        weights = np.eye(self.num_classes, dtype=np.float32)[self.labels(list(classes))]
        share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        latents, classes_mixed = ((1 - share) * ends[0] + share * ends[1] for ends in (z, weights))
        return self.images(latents, classes_mixed, truncation, dtype)

    def name(self, label: int) -> str:
        """Returns the name of a class as one line of printable text, or "class 7" if it has none."""
        return one_line(self.class_names[label]) if self.class_names else f"class {label}"

    def _placed_statistics(self, truncation: float) -> list[Tree]:
        """Returns the statistics on each device; those of the last few truncations stay there."""
        with self._statistics_lock:
            if truncation not in self._statistics:
                statistics = statistics_at(self._exported.statistics, self.truncation_kind, truncation)
                if len(self._statistics) == TRUNCATIONS_KEPT:
                    del self._statistics[next(iter(self._statistics))]
                placed = [jax.device_put(statistics, device) for device in self._devices]
                self._statistics[truncation] = placed
            return self._statistics[truncation]


def largest_batch(model: ConfigDict, device: jax.Device) -> int:
    """Returns the largest batch for a device: a power of two, by the size of the widest feature map."""
    blocks = make_generator(model).architecture.generator_blocks
    largest = max(block.resolution**2 * max(block.in_channels, block.out_channels) for block in blocks)
    limit = (device.memory_stats() or {}).get("bytes_limit") if device.platform != "cpu" else None
    budget = DEVICE_SHARE * limit if limit else CPU_BYTES
    count = int(budget / (4 * MAPS_ALIVE * largest))
    return min(LARGEST_BATCH, 1 << max(0, count.bit_length() - 1))


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    """Pads with zeros to `size` rows, so that one compiled program serves all requests."""
    return np.pad(array, ((0, size - len(array)), *[(0, 0)] * (array.ndim - 1)))


def _collect(images: np.ndarray, start: int, batch: jax.Array) -> None:
    images[start : start + batch.shape[0]] = np.asarray(batch)[: len(images) - start]
