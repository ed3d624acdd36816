"""Many samples as one .npz in ADM's format (`arr_0` u8[N, H, W, 3], `arr_1` i32[N]), drawn in parts.

Finished parts lie on disk in a folder beside the file, so that what was interrupted goes on where it was, and
memory holds one part at a time. Several processes draw parts side by side; the first one writes.
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
from biggan_jax.runtime.counting import counting
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import atomic_file, check_output
from biggan_jax.runtime.npz import write_array
from biggan_jax.runtime.replicas import Replicas
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.sample_file import read_samples
from biggan_jax.sampling.sampler import Sampler

PART_BYTES = 48 * 2**20
REQUEST = "request.json"


@dataclasses.dataclass(frozen=True)
class SampleSetRequest:
    """All that the images depend on: parts of different ones are no set.

    Attributes:
      num_samples: how many images.
      classes: labels; image i is of `classes[i % len(classes)]`.
      truncation, seed: of the latents.
      batch_size: images that a device draws at once.
      weights: SHA-256 of the generator's weights and statistics.
      device: what they are drawn by; arithmetic is rounded differently by others.
      jax: its version.
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
        return np.asarray(self.classes, np.int32)[np.arange(numbers.start, numbers.stop) % len(self.classes)]


def weights_digest(exported: ExportedGenerator) -> str:
    """SHA-256 of all that an exported generator computes with."""
    found = hashlib.sha256()
    trees = (exported.params, sorted(exported.statistics.items()))
    for path, leaf in jax.tree.leaves_with_path(trees):
        found.update(f"{jax.tree_util.keystr(path)}{np.shape(leaf)}".encode())
        found.update(np.ascontiguousarray(leaf).data)
    return found.hexdigest()


def write_sample_set(path: Path, sampler: Sampler, request: SampleSetRequest, console: Console) -> None:
    """Draws the set, or what there is not of it yet; to be called in all processes.

    Args:
      path: of the .npz; the first process's counts.
      sampler: with the request's batch size.
      request: which samples.
      console: where progress goes.

    Raises:
      UserError: there is such a file already, the parts beside it are of another request, the disk is full or
        cannot be written, or there is no such truncation.
    """
    first, num_processes = jax.process_index() == 0, jax.process_count()
    parts = Parts(path, sampler.resolution, request)
    missing: list[int] = Replicas().broadcast(parts.missing(console) if first else None)
    drawn = request.num_samples - sum(len(parts.numbers[index]) for index in missing)
    if drawn:
        console.print(f"going on after {drawn:,} images in {parts.folder}")
    with counting(console, request.num_samples, drawn) as advance:
        for start in range(0, len(missing), num_processes):
            together = missing[start : start + num_processes]
            images = np.zeros(parts.shape, np.uint8)
            if jax.process_index() < len(together):
                numbers = parts.numbers[together[jax.process_index()]]
                for place, some in _draw(sampler, request, numbers):
                    images[place : place + len(some)] = some
                    if num_processes == 1:
                        advance(len(some))
            gathered = processes.gather(images[None], num_processes)
            if first:
                for index, part in zip(together, gathered, strict=False):
                    parts.write(index, part)
            if num_processes > 1:
                advance(sum(len(parts.numbers[index]) for index in together))
    if first:
        parts.join()


class Parts:
    """A set's parts on disk, in `FILE.npz.parts`: each is a whole .npz in the same format.

    Attributes:
      folder: where they are.
      numbers: of the images of each part.
      shape: of the first part's images; only the last part can be smaller.
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
        """The parts that are still to be drawn; damaged ones are removed, and said to be.

        Raises:
          UserError: the set is there already, another one is half done, or there is not enough space.
        """
        check_output(self._path, overwrite=False)
        self._refuse_another_request()
        missing = []
        for index in range(len(self.numbers)):
            name = self._name(index)
            if name.exists() and not self._is_whole(index):
                console.print(f"{name} is damaged: drawing it again")
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
        """Keeps a part; `images` may have more rows than it."""
        numbers = self.numbers[index]
        with atomic_file(self._name(index)) as file:
            np.savez(file, images[: len(numbers)], self._request.labels(numbers))

    def join(self) -> None:
        """Makes the set of its parts, and removes them."""
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

    def _is_whole(self, index: int) -> bool:
        numbers = self.numbers[index]
        try:
            images, labels = read_samples(self._name(index))
        except UserError:
            return False
        return images.shape == (len(numbers), *self._size) and labels is not None

    def _refuse_another_request(self) -> None:
        """Writes the request beside the parts, or compares it with the one that is there."""
        path, now = self.folder / REQUEST, json.loads(json.dumps(dataclasses.asdict(self._request)))
        if not path.exists():
            check_output(path, overwrite=True)
            with atomic_file(path) as file:
                file.write(json.dumps(now, indent=2).encode())
            return
        try:
            before = json.loads(path.read_bytes())
            differing = [name for name in now if before.get(name) != now[name]]
        except (OSError, ValueError, AttributeError):
            differing = ["unreadable"]
        if differing:
            raise UserError(
                f"{self.folder} holds parts of another set (other {', '.join(differing)}): give its flags to "
                "go on with it, or remove the folder, or choose another --output"
            )


def _draw(sampler: Sampler, request: SampleSetRequest, numbers: range) -> Iterator[tuple[int, np.ndarray]]:
    """The images of these numbers, some at a time, each time with how many came before."""
    at_once = 2 * request.batch_size * jax.local_device_count()
    for start in range(numbers.start, numbers.stop, at_once):
        some = range(start, min(start + at_once, numbers.stop))
        labels = request.labels(some)
        yield (
            start - numbers.start,
            sampler.sample(labels, request.truncation, request.seed, start),
        )
