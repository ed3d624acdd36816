"""Cropping and resizing against exact areas in float64 and against Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from biggan_jax.data.decode import crop_and_resize, decode_square


def coverage(size: int, resolution: int) -> np.ndarray:
    """Row i: how much of each of `size` pixels lies in the i-th of `resolution` parts, in parts."""
    edges = np.linspace(0, size, resolution + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(overlap, 0, None) * resolution / size


def centred_square(image: np.ndarray) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(37, 53), (61, 40), (33, 32), (64, 64), (20, 31), (375, 500)])
def test_each_pixel_is_the_mean_of_the_area_it_covers_in_the_centred_square(size):
    image = random_image(*size)
    square = centred_square(image).astype(np.float64)
    weights = coverage(len(square), 32)
    exact = np.einsum("ih,hwc,jw->ijc", weights, square, weights)
    actual = crop_and_resize(image, 32).numpy()
    assert actual.shape == (32, 32, 3) and actual.dtype == np.uint8
    assert np.abs(actual - exact).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_resizing_by_whole_factors_is_pillows_box(factor):
    image = random_image(16 * factor, 16 * factor + 7)
    box = Image.fromarray(centred_square(image)).resize((16, 16), Image.Resampling.BOX)
    # Pillow rounds after each of its two passes.
    assert np.abs(crop_and_resize(image, 16).numpy().astype(int) - np.asarray(box)).max() <= 1


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_lossless_files_decode_to_their_pixels(file_format):
    image = random_image(32, 32) // 64 * 64  # few enough colours for GIF
    np.testing.assert_array_equal(decode_square(encoded(image, format=file_format), 32).numpy(), image)


def test_jpeg_decodes_as_pillow_decodes_it():
    content = encoded(random_image(32, 32), format="JPEG")
    np.testing.assert_array_equal(decode_square(content, 32).numpy(), Image.open(io.BytesIO(content)))


def test_grey_pictures_become_rgb():
    grey = random_image(32, 32)[..., 0]
    actual = decode_square(encoded(grey, format="PNG"), 32).numpy()
    np.testing.assert_array_equal(actual, np.repeat(grey[..., None], 3, axis=2))
