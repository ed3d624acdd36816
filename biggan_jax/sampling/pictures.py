"""Pictures of a generator: samples by class, samples by truncation, and interpolations.

They correspond to figures of Brock et al. 2019: samples (4 to 6), truncation (2), interpolations (8 and 9).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.sheets import TITLE_LINES, enlarge, sheet
from biggan_jax.sampling.truncation import describe

Interpolation = Literal["z", "class", "both"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("z", "class", "both")
CLASSES_SHOWN = 10
MOST_BYTES = 2**30  # pixels of one picture or animation


def default_classes(sampler: Sampler) -> list[int]:
    """Returns the labels to show by default, spread evenly over all classes."""
    count = min(sampler.num_classes, CLASSES_SHOWN)
    return np.linspace(0, sampler.num_classes - 1, count).astype(int).tolist()


def class_sheet(
    sampler: Sampler, labels: Sequence[int], rows: int, truncation: float | None, seed: int
) -> Image.Image:
    """Makes a sheet with one latent in each row and one class in each column.

    Args:
      sampler: The generator.
      labels: Labels of the columns.
      rows: Number of latents.
      truncation: Truncation of the latents; None for the sampler's default.
      seed: Seed of the latents.

    Raises:
      UserError: If the sheet would be too large, or the truncation is not available.
    """
    _refuse_too_large(sampler, rows * len(labels))
    z = sampler.latents(rows, truncation, seed)
    images = sampler.images(np.repeat(z, len(labels), axis=0), np.tile(labels, rows), truncation)
    return sheet(images.reshape(rows, len(labels), *images.shape[1:]), [*map(sampler.name, labels)])


def truncation_sheet(
    sampler: Sampler, labels: Sequence[int], rows: int, truncations: Sequence[float], seed: int
) -> Image.Image:
    """Makes a sheet with one truncation in each column and `rows` rows for each class.

    The latents of a row differ by truncation alone.

    Args:
      sampler: The generator.
      labels: Labels of the rows.
      rows: Number of latents for each class.
      truncations: Truncations of the columns.
      seed: Seed of the latents.

    Raises:
      UserError: If the sheet would be too large, or a truncation is not available.
    """
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
    interpolation: Interpolation,
    labels: Sequence[int],
    rows: int,
    steps: int,
    truncation: float | None,
    seed: int,
) -> np.ndarray:
    """Interpolates between latents, between classes, or between both.

    Args:
      sampler: The generator.
      interpolation: "z" goes from one latent to another, with one column for each class. "class" keeps the
        latent and goes from each class to the next. "both" changes the latent together with the class.
      labels: Labels of the classes; two or more unless `interpolation` is "z".
      rows: Number of interpolations, each with latents of its own.
      steps: Images from each class, or from the first latent, to the next, both ends included.
      truncation: As for `Sampler.sample`.
      seed: As for `Sampler.sample`.

    Returns:
      u8[rows, columns, T, H, W, 3].

    Raises:
      UserError: If the classes are too few, or the images too many to hold in memory.
    """
    if interpolation != "z" and len(labels) < 2:
        raise UserError(
            f"--interpolate={interpolation} goes from class to class: give two or more by --classes"
        )
    columns = [(label, label) for label in labels] if interpolation == "z" else [tuple(labels)]
    stops = len(columns[0])
    _refuse_too_large(sampler, rows * len(columns) * steps * (stops - 1))
    z = sampler.latents(rows if interpolation == "class" else rows * stops, truncation, seed)
    z = np.repeat(z, stops, axis=0) if interpolation == "class" else z
    strips = []
    for latents in z.reshape(rows, stops, -1):
        for classes in columns:
            parts = [
                sampler.interpolate(
                    (classes[i], classes[i + 1]), steps=steps, truncation=truncation, z=latents[i : i + 2]
                )
                for i in range(stops - 1)
            ]
            strips.append(np.concatenate([parts[0], *(part[1:] for part in parts[1:])]))
    return np.stack(strips).reshape(rows, len(columns), *strips[0].shape)


def interpolation_sheet(
    sampler: Sampler, interpolation: Interpolation, labels: Sequence[int], images: np.ndarray
) -> Image.Image:
    """Makes a sheet of the images of `interpolations`: one interpolation in each row.

    The names of the classes are above the columns at which they are reached, or left of the rows for "z".
    """
    rows, columns, length = images.shape[:3]
    titles = [""] * length
    if interpolation == "z":
        flat = images.swapaxes(0, 1).reshape(columns * rows, *images.shape[2:])
        return sheet(flat, titles, _names(sampler, labels, rows))
    titles[:: (length - 1) // (len(labels) - 1)] = map(sampler.name, labels)
    return sheet(images[:, 0], titles)


def animation_frames(
    sampler: Sampler, interpolation: Interpolation, labels: Sequence[int], images: np.ndarray
) -> np.ndarray:
    """Makes frames of the images of `interpolations`: all interpolations side by side, under their classes.

    Args:
      sampler: The generator.
      interpolation: As for `interpolations`.
      labels: As for `interpolations`.
      images: u8[rows, columns, T, H, W, 3].

    Returns:
      u8[T, H', W', 3] with even H' and W'; video formats need these.
    """
    titles, lines = [[*map(sampler.name, labels)]] * images.shape[2], None
    if interpolation != "z":
        titles, lines = (
            [[title] for title in _titles_on_the_way(sampler, labels, images.shape[2])],
            TITLE_LINES,
        )
    frames = np.stack(
        [np.asarray(sheet(images[:, :, t], titles[t], title_lines=lines)) for t in range(images.shape[2])]
    )
    odd = [(0, size % 2) for size in frames.shape[1:3]]
    return np.pad(frames, ((0, 0), *odd, (0, 0)), constant_values=255)


def _titles_on_the_way(sampler: Sampler, labels: Sequence[int], length: int) -> list[str]:
    """Returns a title for each image: its class, or the two classes that it lies between."""
    steps = (length - 1) // (len(labels) - 1)
    names = [*map(sampler.name, labels)]
    return [
        names[t // steps] if t % steps == 0 else f"{names[t // steps]} → {names[t // steps + 1]}"
        for t in range(length)
    ]


def _names(sampler: Sampler, labels: Sequence[int], rows: int) -> list[str]:
    """Returns row titles: the name of each class at the first of its rows."""
    return [name for label in labels for name in (sampler.name(label), *[""] * (rows - 1))]


def _refuse_too_large(sampler: Sampler, images: int) -> None:
    size = enlarge(np.empty((sampler.resolution, sampler.resolution, 3), np.uint8)).nbytes
    if images * size > MOST_BYTES:
        raise UserError(
            f"{images:,} images of {sampler.resolution} px are too many for one picture: take "
            f"{MOST_BYTES // size:,} at most, by fewer --classes, --rows, --steps or --truncations"
        )
