"""Large sample sets: one .npz in ADM's format (`arr_0` u8[N, H, W, 3], `arr_1` i32[N]), sampled in parts.

Finished parts are kept in a folder beside the file, so an interrupted command continues where it stopped, and
memory holds one part at a time. Several processes sample parts in parallel; the first process writes.
"""

import dataclasses
import hashlib
import json
import math
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from biggan_jax.runtime import processes
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import atomic_file, check_output
from biggan_jax.runtime.json_values import parse_json
from biggan_jax.runtime.npz import write_array
from biggan_jax.runtime.progress import counting
from biggan_jax.runtime.replicas import Replicas
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.sample_file import read_samples
from biggan_jax.sampling.sampler import Sampler

PART_BYTES = 48 * 2**20  # pixels of a part
REQUEST = "request.json"


@dataclasses.dataclass(frozen=True)
class SampleSetRequest:
    """Everything that the images of a set depend on.

    Parts of different requests do not form a set.

    Attributes:
      num_samples: Number of images.
      classes: Labels; image i is of class `classes[i % len(classes)]`.
      truncation: Truncation of the latents.
      seed: Seed of the latents.
      batch_size: Images in a batch of one device.
      weights: SHA-256 of the generator's weights and statistics.
      device: Kind of the devices, since rounding differs between kinds.
      jax: Version of JAX.
    """

    num_samples: int
    classes: tuple[int, ...]
    truncation: float
    seed: int
    batch_size: int
    weights: str
    device: str = dataclasses.field(default_factory=lambda: jax.devices()[0].device_kind)
    jax: str = jax.__version__

    def labels(self, numbers: range) -> np.ndarray:
        """Returns the labels of the images with these numbers: i32[N]."""
        return np.asarray(self.classes, np.int32)[np.arange(numbers.start, numbers.stop) % len(self.classes)]


def weights_digest(exported: ExportedGenerator) -> str:
    """Returns the SHA-256 of the weights and statistics of a generator."""
    digest = hashlib.sha256()
    trees = (exported.params, sorted(exported.statistics.items()))
    for path, leaf in jax.tree.leaves_with_path(trees):
        digest.update(f"{jax.tree_util.keystr(path)}{np.shape(leaf)}".encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def write_sample_set(path: Path, sampler: Sampler, request: SampleSetRequest, console: Console) -> None:
    """Samples the set, or its missing parts, and writes it; all processes call this together.

    Args:
      path: Path of the .npz; the path of the first process is used.
      sampler: Sampler with the batch size of the request.
      request: Requested samples.
      console: Console for the progress.

    Raises:
      UserError: If the file exists already, the parts beside it belong to another request, the disk is full
        or not writable, or the truncation is not available.
    """
    first, num_processes = jax.process_index() == 0, jax.process_count()
    parts = Parts(path, sampler.resolution, request)
    missing: list[int] = Replicas().broadcast(parts.missing(console) if first else None)
    num_done = request.num_samples - sum(len(parts.numbers[index]) for index in missing)
    if num_done:
        console.print(f"continuing after {num_done:,} images in {parts.folder}")
    with counting(
        "", request.num_samples, num_done, unit="images", console=console, quiet_seconds=0, compiles=True
    ) as advance:
        for start in range(0, len(missing), num_processes):
            together = missing[start : start + num_processes]
            images = np.zeros(parts.shape, np.uint8)
            if jax.process_index() < len(together):
                numbers = parts.numbers[together[jax.process_index()]]
                for place, chunk in _sample_chunks(sampler, request, numbers):
                    images[place : place + len(chunk)] = chunk
                    if num_processes == 1:
                        advance(len(chunk))
            gathered = processes.gather(images[None], num_processes)
            if first:
                for index, part in zip(together, gathered, strict=False):
                    parts.write(index, part)
            if num_processes > 1:
                advance(sum(len(parts.numbers[index]) for index in together))
    if first:
        parts.join()


class Parts:
    """The parts of a set on disk, in `FILE.npz.parts`: each is a complete .npz in the same format.

    Attributes:
      folder: Folder of the parts.
      numbers: Numbers of the images of each part.
      shape: Shape of the images of the first part; only the last part can be smaller.
    """

    def __init__(self, path: Path, resolution: int, request: SampleSetRequest):
        self.folder = path.with_name(f"{path.name}.parts")
        self._path, self._request, self._size = path, request, (resolution, resolution, 3)
        step = min(request.num_samples, max(1, PART_BYTES // math.prod(self._size)))
        self.numbers = [
            range(start, min(start + step, request.num_samples))
            for start in range(0, request.num_samples, step)
        ]
        self.shape = (step, *self._size)

    def missing(self, console: Console) -> list[int]:
        """Returns the indices of the missing parts; removes and reports damaged parts.

        Raises:
          UserError: If the set exists already, the parts belong to another request, or space is too small.
        """
        check_output(self._path, overwrite=False)
        self._refuse_another_request()
        missing = []
        for index in range(len(self.numbers)):
            name = self._name(index)
            if name.exists() and not self._is_complete(index):
                console.print(f"{name} is damaged: sampling it again")
                name.unlink()
            if not name.exists():
                missing.append(index)
        images = self._request.num_samples + sum(len(self.numbers[index]) for index in missing)
        wanted, free = images * math.prod(self._size), shutil.disk_usage(self._path.parent).free
        if wanted > free:
            raise UserError(
                f"{self._path} and its parts take {wanted / 1e9:.3g} GB more, and {self._path.parent} has "
                f"{free / 1e9:.3g} GB: free some space, or choose another --output"
            )
        return missing

    def write(self, index: int, images: np.ndarray) -> None:
        """Writes a part; surplus rows of `images` are ignored."""
        numbers = self.numbers[index]
        with atomic_file(self._name(index)) as file:
            np.savez(file, images[: len(numbers)], self._request.labels(numbers))

    def join(self) -> None:
        """Joins the parts to the set, and removes them."""
        count = self._request.num_samples

        def images() -> Iterator[np.ndarray]:
            for index in range(len(self.numbers)):
                yield read_samples(self._name(index))[0]

        with atomic_file(self._path) as file, zipfile.ZipFile(file, "w") as archive:
            write_array(archive, "arr_0", (count, *self._size), np.uint8, images())
            write_array(archive, "arr_1", (count,), np.int32, [self._request.labels(range(count))])
        shutil.rmtree(self.folder)

    def _name(self, index: int) -> Path:
        return self.folder / f"{self.numbers[index].start:08d}.npz"

    def _is_complete(self, index: int) -> bool:
        numbers = self.numbers[index]
        try:
            images, labels = read_samples(self._name(index))
        except UserError:
            return False
        return images.shape == (len(numbers), *self._size) and labels is not None

    def _refuse_another_request(self) -> None:
        """Writes the request beside the parts, or compares it with the request that is there."""
        path, now = self.folder / REQUEST, json.loads(json.dumps(dataclasses.asdict(self._request)))
        if not path.exists():
            check_output(path, overwrite=True)
            with atomic_file(path) as file:
                file.write(json.dumps(now, indent=2).encode())
            return
        try:
            before = parse_json(path.read_bytes())
            differing = [name for name in now if before.get(name) != now[name]]
        except (OSError, ValueError, AttributeError):
            differing = ["unreadable"]
        if differing:
            raise UserError(
                f"{self.folder} holds parts of another set (other {', '.join(differing)}): repeat its "
                "flags to continue it, remove the folder, or choose another --output"
            )


def _sample_chunks(
    sampler: Sampler, request: SampleSetRequest, numbers: range
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the images with these numbers in chunks, each with the position of its first image."""
    size = 2 * request.batch_size * jax.local_device_count()
    for start in range(numbers.start, numbers.stop, size):
        labels = request.labels(range(start, min(start + size, numbers.stop)))
        yield start - numbers.start, sampler.sample(labels, request.truncation, request.seed, start)
