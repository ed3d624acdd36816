"""Files of samples in ADM's format: an .npz of images `arr_0` u8[N, H, W, 3] and labels `arr_1` i32[N].

Dhariwal & Nichol 2021 publish sample batches in this format, and their evaluator reads it.
"""

import io
from pathlib import Path

import numpy as np

from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import Destination, write_file
from biggan_jax.runtime.npz import open_npz, read_array

LARGEST_LABEL = 2**31 - 1


def read_samples(
    path: Path, resolution: int | None = None, num_classes: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads samples.

    Args:
      path: Path of the .npz.
      resolution: Required side of the images in pixels; None for any.
      num_classes: Bound that labels must be below; None for any.

    Returns:
      Images u8[N, H, W, 3], and labels i32[N] or None if the file has no labels.

    Raises:
      UserError: If the file is missing or holds no samples; the message says how to repair it.
    """
    with open_npz(path) as file:
        if "arr_0" not in file:
            raise UserError(
                f"{path} has no 'arr_0', only {', '.join(file.files) or 'nothing'}: write samples with "
                "numpy.savez(FILE, images, labels)"
            )
        images = read_array(file, path, "arr_0")
        labels = read_array(file, path, "arr_1") if "arr_1" in file else None
    _check_images(path, images, resolution)
    return images, None if labels is None else _checked_labels(path, labels, len(images), num_classes)


def write_samples(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes images u8[N, H, W, 3] and labels i32[N]; the file appears complete or not at all.

    Raises:
      UserError: If the file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, images, labels)
    write_file(path, buffer.getvalue(), Destination("--save_samples", "run the same command again"))


def _check_images(path: Path, images: np.ndarray, resolution: int | None) -> None:
    shape = list(images.shape)
    if images.dtype != np.uint8:
        raise UserError(
            f"{path} holds {images.dtype} images{_values(images)}; they must be uint8 from 0 to 255"
            f"{_remedy(images)}"
        )
    if images.ndim != 4 or images.shape[-1] != 3:
        hint = "; move the channels last" if images.ndim == 4 and images.shape[1] == 3 else ""
        raise UserError(f"{path} holds images {shape}, must be [N, height, width, 3]{hint}")
    if not len(images):
        raise UserError(f"{path} holds no images")
    if resolution is not None and images.shape[1:3] != (resolution, resolution):
        raise UserError(
            f"{path} holds images of {shape[1]} × {shape[2]} pixels, and the real images have {resolution} × "
            f"{resolution}: compare at one resolution"
        )


def _values(images: np.ndarray) -> str:
    """Describes the values of an array that is not uint8."""
    if images.dtype.kind not in "fiu" or not images.size:
        return ""
    finite = images[np.isfinite(images)]
    words = f" with values from {finite.min():.4g} to {finite.max():.4g}" if finite.size else ""
    bad = images.size - finite.size
    return words + (f", {bad:,} of {images.size:,} values not finite" if bad else "")


def _remedy(images: np.ndarray) -> str:
    """Returns how to convert the images to uint8, by the range of their values."""
    finite = images[np.isfinite(images)] if images.dtype.kind in "fiu" else np.zeros(0)
    if not finite.size:
        return ""
    for scaled, low, high in (("(x * 255)", 0, 1), ("((x + 1) * 127.5)", -1, 1), ("x", 0, 255)):
        if low <= finite.min() and finite.max() <= high:
            return f": write {scaled}.round().astype(uint8) for x from {low} to {high}"
    return ": scale them to this range before you write them"


def _checked_labels(path: Path, labels: np.ndarray, count: int, num_classes: int | None) -> np.ndarray:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"{path} holds labels {labels.dtype}{list(labels.shape)} for {count} images: must be one "
            "integer for each image"
        )
    if labels.min() < 0 or labels.max() >= (LARGEST_LABEL + 1 if num_classes is None else num_classes):
        known = "0 to 2**31 - 1" if num_classes is None else f"0 to {num_classes - 1}"
        raise UserError(f"{path} holds labels from {labels.min()} to {labels.max()}, must be {known}")
    return labels.astype(np.int32)
