"""The resize against Pillow's BOX filter, which in mode F does not round, and what it makes of means."""

import numpy as np
import pytest
from photographs import photograph
from PIL import Image

from biggan_jax.data.resize import MAX_PIXELS_SUMMED, box_resize


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pillow(image: np.ndarray, square: tuple[int, int, int], resolution: int) -> np.ndarray:
    """f32[resolution, resolution, 3], not rounded."""
    left, top, side = square
    part = image[top : top + side, left : left + side].astype(np.float32)
    channels = [
        Image.fromarray(part[..., channel]).resize((resolution, resolution), Image.Resampling.BOX)
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1)


def means(image: np.ndarray, ratio: int) -> np.ndarray:
    """Of ratio × ratio pixels, rounded; at the edges the last pixels stand in for those that are missing."""
    height, width = (-size % ratio for size in image.shape[:2])
    image = np.pad(image, ((0, height), (0, width), (0, 0)), "edge")
    parts = image.reshape(image.shape[0] // ratio, ratio, image.shape[1] // ratio, ratio, 3)
    return np.rint(parts.mean(axis=(1, 3))).astype(np.uint8)


@pytest.mark.parametrize("side", [1, 8, 31, 32, 33, 48, 63, 64, 100, 375, 600])
@pytest.mark.parametrize("resolution", [1, 8, 32, 48, 100])
def test_each_pixel_is_pillows_box_rounded_once(side, resolution):
    image, square = random_image(side + 11, side + 5), (2, 7, side)
    actual = box_resize(image, square, resolution)
    assert actual.shape == (resolution, resolution, 3) and actual.dtype == np.uint8
    assert np.abs(actual - pillow(image, square, resolution)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("factor", [MAX_PIXELS_SUMMED, MAX_PIXELS_SUMMED + 1])
def test_sums_of_many_bright_pixels_do_not_overflow(factor):
    white = np.full((8 * factor, 8 * factor, 3), 255, np.uint8)
    assert (box_resize(white, (0, 0, 8 * factor), 8) == 255).all()


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize("square", [(8, 8, 144), (9, 11, 140), (13, 10, 97)])
def test_of_a_slope_the_means_of_pixels_are_as_good_as_the_pixels(ratio, square):
    """Also where an area ends within them, and at the edges of the square, as long as the picture goes on."""
    y, x = np.mgrid[:160, :163]
    image = np.stack([x, y, 255 - x / 2 - y / 2], axis=-1).round().astype(np.uint8)
    actual = box_resize(means(image, ratio), square, 19, ratio)
    # The means are rounded too.
    assert np.abs(actual - pillow(image, square, 19)).max() <= 1 + 1e-3


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_estimates_keep_the_mean_of_what_they_estimate(ratio):
    """Of areas that hold all the pixels of their means, no estimate changes anything."""
    image = random_image(8, 8) // 4 + 96
    enlarged = image.repeat(2, axis=0).repeat(2, axis=1)  # two means an area
    np.testing.assert_array_equal(box_resize(enlarged, (0, 0, 16 * ratio), 8, ratio), image)


def test_estimates_beyond_black_and_white_are_cut_off():
    """Where one area is a single pixel, which is estimated to lie beyond its mean."""
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 255
    actual = box_resize(edge, (0, 0, 16), 16, ratio=2)
    assert (actual[:, :6] == 0).all() and (actual[:, 10:] == 255).all()
    assert (np.diff(actual.astype(int), axis=1)[:, 6:9] >= 0).all()


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize("size", [(397, 500), (500, 333), (640, 900)])
def test_photographs_are_within_a_grey_level_though_only_means_of_pixels_are_known(size, ratio):
    image = photograph(*size)
    side = min(size)
    square = ((size[1] - side) // 2, (size[0] - side) // 2, side)
    resolution = side // (4 * ratio) - 1
    actual = box_resize(means(image, ratio), square, resolution, ratio)
    assert np.abs(actual - pillow(image, square, resolution)).mean() < 1
