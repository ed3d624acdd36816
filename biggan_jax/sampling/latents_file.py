"""Images of given latents, for exact comparisons: from an .npz of `z` and `labels` to one of `images`."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import atomic_file
from biggan_jax.runtime.npz import open_npz, read_array, write_array
from biggan_jax.runtime.progress import counting
from biggan_jax.sampling.sampler import LARGEST_LATENT, Sampler

BYTES_AT_ONCE = 2**26


def read_latents(path: Path, sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:
    """Reads latents and labels.

    Args:
      path: Path of the .npz.
      sampler: Generator that the latents are for.

    Returns:
      Latents f32[N, latent_dim], and labels i32[N] or weights of all classes f32[N, num_classes].

    Raises:
      UserError: If the file is missing, or its arrays do not fit the generator.
    """
    with open_npz(path) as file:
        for key in ("z", "labels"):
            if key not in file:
                raise UserError(
                    f"{path} has no '{key}', only {', '.join(file.files) or 'nothing'}: write it with "
                    "numpy.savez(FILE, z=z, labels=labels)"
                )
        z, labels = (read_array(file, path, key) for key in ("z", "labels"))
    if z.dtype.kind != "f" or z.ndim != 2 or z.shape[1] != sampler.latent_dim or not len(z):
        raise UserError(
            f"{path}: z is {z.dtype}{list(z.shape)}, must be floating-point numbers [N, {sampler.latent_dim}]"
        )
    mixed = labels.dtype.kind == "f"
    wanted = (len(z), sampler.num_classes) if mixed else (len(z),)
    if labels.dtype.kind not in "iuf" or labels.shape != wanted:
        raise UserError(
            f"{path}: labels is {labels.dtype}{list(labels.shape)}, must be integers [{len(z)}], or "
            f"floating-point weights of all classes [{len(z)}, {sampler.num_classes}]"
        )
    if not np.isfinite(z).all() or (mixed and not np.isfinite(labels).all()):
        raise UserError(f"{path} holds numbers that are not finite: write it without them")
    for name, array in (("latents", z), *([("weights", labels)] if mixed else [])):
        if (largest := np.abs(array).max()) > LARGEST_LATENT:
            raise UserError(f"{path} holds {name} up to {largest:g}: give them within ±{LARGEST_LATENT:,}")
    if not mixed and (labels.min() < 0 or labels.max() >= sampler.num_classes):
        raise UserError(
            f"{path} holds labels from {labels.min()} to {labels.max()}, must be 0 to "
            f"{sampler.num_classes - 1}"
        )
    return z.astype(np.float32), labels.astype(np.float32 if mixed else np.int32)


def write_images(
    path: Path,
    sampler: Sampler,
    z: np.ndarray,
    classes: np.ndarray,
    truncation: float | None,
    console: Console,
) -> None:
    """Generates the images and writes them to an .npz as `images`, f32[N, H, W, 3] in [-1, 1].

    Args:
      path: Path of the .npz.
      sampler: The generator.
      z: Latents, f32[N, latent_dim].
      classes: Labels i32[N], or weights of all classes f32[N, num_classes].
      truncation: Truncation of the statistics; None for the sampler's default.
      console: Console for the progress.

    Raises:
      UserError: If the file cannot be written, or the truncation is not available.
    """
    count, size = len(z), sampler.resolution
    at_once = max(1, BYTES_AT_ONCE // (12 * size**2))
    with (
        counting("", count, unit="images", console=console, quiet_seconds=0, compiles=True) as advance,
        atomic_file(path) as file,
        zipfile.ZipFile(file, "w") as archive,
    ):

        def parts() -> Iterator[np.ndarray]:
            for start in range(0, count, at_once):
                rows = slice(start, start + at_once)
                yield sampler.images(z[rows], classes[rows], truncation, "float32")
                advance(len(z[rows]))

        write_array(archive, "images", (count, size, size, 3), np.float32, parts())
