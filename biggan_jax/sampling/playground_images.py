"""Choices and images of the playground page, apart from its layout."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.sheets import sheet
from biggan_jax.sampling.truncation import untruncated

COLUMNS = 4
LONGEST_STEM = 100  # bytes


class ImageSource(NamedTuple):
    """All that an image on the page depends on.

    Attributes:
      label: Its class.
      seed: Seed of the sequence of latents.
      position: Position in the sequence.
      truncation: Truncation of latent and statistics.
    """

    label: int
    seed: int
    position: int
    truncation: float


class TruncationChoice(NamedTuple):
    """Truncations that the page offers.

    Attributes:
      lowest: Lower end of the slider.
      highest: Upper end of the slider, and its first value.
      has_slider: Whether statistics at a truncation are stored.
      has_checkbox: Whether untruncated statistics are stored.
      untruncated: Whether the page starts untruncated.
    """

    lowest: float
    highest: float
    has_slider: bool
    has_checkbox: bool
    untruncated: bool


def truncation_choice(sampler: Sampler) -> TruncationChoice:
    """Returns the truncations that a page for this generator offers."""
    no_truncation = untruncated(sampler.truncation_kind)
    stored = [t for t in sampler.truncations if t > 0 or sampler.truncation_kind == "scale"]
    return TruncationChoice(
        lowest=min(stored, default=0),
        highest=max(stored, default=1),
        has_slider=bool(stored),
        has_checkbox=no_truncation in sampler.truncations,
        untruncated=sampler.truncation == no_truncation,
    )


def class_choices(sampler: Sampler) -> list[tuple[str, int]]:
    """Returns text and label of each class, for a list to choose from."""
    if not sampler.class_names:
        return [(sampler.name(label), label) for label in range(sampler.num_classes)]
    return [(f"{label}: {sampler.name(label)}", label) for label in range(sampler.num_classes)]


def latent_and_image(sampler: Sampler, source: ImageSource) -> tuple[np.ndarray, np.ndarray]:
    """Returns latent and image of a source: f32[1, latent_dim] and u8[1, H, W, 3]."""
    z = sampler.latents(1, source.truncation, source.seed, source.position)
    return z, sampler.images(z, [source.label], source.truncation)


def image_grid(images: np.ndarray, titles: list[str]) -> Image.Image:
    """Makes a sheet of images u8[N, H, W, 3] in rows of `COLUMNS`; the titles are above the first columns."""
    columns = min(COLUMNS, len(images))
    missing = -len(images) % columns
    filled = np.pad(images, ((0, missing), *[(0, 0)] * 3), constant_values=255)
    return sheet(filled.reshape(-1, columns, *images.shape[1:]), (titles + [""] * columns)[:columns])


def download_path(name: str) -> str:
    """Returns a path for a download in a new folder; characters unfit for a file name are replaced.

    A long name is cut before its ending, for file systems take 255 bytes.
    """
    safe = "".join(letter if letter.isalnum() or letter in " .-" else "_" for letter in name)
    stem, ending = os.path.splitext(safe)
    safe = stem.encode()[:LONGEST_STEM].decode(errors="ignore") + ending
    return str(Path(tempfile.mkdtemp(prefix="biggan_jax-")) / safe)
