"""What a generator is shown by: samples by class, by truncation, and on the way from one image to another.

The figures of Brock et al. 2019: samples (4 to 6), truncation (2), interpolations (8 and 9).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.sheets import enlarge, sheet
from biggan_jax.sampling.truncation import describe

Interpolation = Literal["z", "class", "both"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("z", "class", "both")
CLASSES_SHOWN = 10
MOST_BYTES = 2**30  # of one picture or animation


def default_classes(sampler: Sampler) -> list[int]:
    """Classes to show where none are asked for: spread evenly over all."""
    count = min(sampler.num_classes, CLASSES_SHOWN)
    return np.linspace(0, sampler.num_classes - 1, count).astype(int).tolist()


def class_sheet(
    sampler: Sampler, labels: Sequence[int], rows: int, truncation: float | None, seed: int
) -> Image.Image:
    """A latent a row, a class a column."""
    _refuse_too_large(sampler, rows * len(labels))
    z = sampler.latents(rows, truncation, seed)
    images = sampler.images(np.repeat(z, len(labels), axis=0), np.tile(labels, rows), truncation)
    return sheet(images.reshape(rows, len(labels), *images.shape[1:]), [*map(sampler.name, labels)])


def truncation_sheet(
    sampler: Sampler, labels: Sequence[int], rows: int, truncations: Sequence[float], seed: int
) -> Image.Image:
    """A truncation a column; `rows` rows for each class, whose latents differ by truncation alone."""
    _refuse_too_large(sampler, rows * len(labels) * len(truncations))
    columns = [
        sampler.images(
            np.tile(sampler.latents(rows, truncation, seed), (len(labels), 1)),
            np.repeat(labels, rows),
            truncation,
        )
        for truncation in truncations
    ]
    titles = [describe(sampler.truncation_kind, truncation) for truncation in truncations]
    return sheet(np.stack(columns, axis=1), titles, _names(sampler, labels, rows))


def interpolations(
    sampler: Sampler,
    way: Interpolation,
    labels: Sequence[int],
    rows: int,
    steps: int,
    truncation: float | None,
    seed: int,
) -> np.ndarray:
    """Images on the way from latent to latent, from class to class, or both at once.

    Args:
      sampler: draws.
      way: "z" for two latents, a column for each class; "class" for one latent, from each class to the next;
        "both" for another latent with each class.
      labels: of the classes; two or more of them, but for "z".
      rows: how many such ways, each of latents of its own.
      steps: images from each class, or from the first latent, to the next, the two ends included.
      truncation, seed: as for `Sampler.sample`.

    Returns:
      u8[rows, columns, T, H, W, 3].

    Raises:
      UserError: too few classes, or too many images to hold in memory.
    """
    if way != "z" and len(labels) < 2:
        raise UserError(f"--interpolate={way} goes from class to class: give two or more by --classes")
    columns = [(label, label) for label in labels] if way == "z" else [tuple(labels)]
    stops = len(columns[0])
    _refuse_too_large(sampler, rows * len(columns) * steps * (stops - 1))
    z = sampler.latents(rows if way == "class" else rows * stops, truncation, seed)
    z = np.repeat(z, stops, axis=0) if way == "class" else z
    found = []
    for latents in z.reshape(rows, stops, -1):
        for classes in columns:
            parts = [
                sampler.interpolate(
                    classes[i : i + 2], steps=steps, truncation=truncation, z=latents[i : i + 2]
                )
                for i in range(stops - 1)
            ]
            found.append(np.concatenate([parts[0], *(part[1:] for part in parts[1:])]))
    return np.stack(found).reshape(rows, len(columns), *found[0].shape)


def interpolation_sheet(
    sampler: Sampler, way: Interpolation, labels: Sequence[int], images: np.ndarray
) -> Image.Image:
    """What `interpolations` gave as a sheet: a way a row, the class at each of its stops above it."""
    rows, columns, length = images.shape[:3]
    titles = [""] * length
    if way == "z":
        flat = images.swapaxes(0, 1).reshape(columns * rows, *images.shape[2:])
        return sheet(flat, titles, _names(sampler, labels, rows))
    titles[:: (length - 1) // (len(labels) - 1)] = map(sampler.name, labels)
    return sheet(images[:, 0], titles)


def animation_frames(images: np.ndarray) -> np.ndarray:
    """What `interpolations` gave as the frames of an animation, all ways side by side: u8[T, H', W', 3]."""
    tiles = enlarge(images)
    rows, columns, length, height, width, _ = tiles.shape
    return tiles.transpose(2, 0, 3, 1, 4, 5).reshape(length, rows * height, columns * width, 3)


def _names(sampler: Sampler, labels: Sequence[int], rows: int) -> list[str]:
    """The class's name at the first of its rows."""
    return [name for label in labels for name in (sampler.name(label), *[""] * (rows - 1))]


def _refuse_too_large(sampler: Sampler, images: int) -> None:
    size = enlarge(np.empty((sampler.resolution, sampler.resolution, 3), np.uint8)).nbytes
    if images * size > MOST_BYTES:
        raise UserError(
            f"{images:,} images of {sampler.resolution} px are too many for one picture: take "
            f"{MOST_BYTES // size:,} at most, by fewer --classes, --rows, --steps or --truncations"
        )
