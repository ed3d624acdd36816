"""Pictures of a generator: which image stands where, against images drawn one by one."""

import numpy as np
import pytest
from tiny_exports import NAMES, SIZE, make_exported

from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling import pictures
from biggan_jax.sampling.pictures import (
    animation_frames,
    class_sheet,
    default_classes,
    interpolation_sheet,
    interpolations,
    truncation_sheet,
)
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.sheets import MARGIN, SMALLEST_TILE

SCALE = SMALLEST_TILE // SIZE


@pytest.fixture(scope="module")
def sampler():
    return Sampler(make_exported(), batch_size=4)


def tiles(page, rows, columns):
    """The images of a sheet in their own size: u8[rows, columns, H, W, 3]; it ends with a margin."""
    pixels, step = np.asarray(page)[:-MARGIN, :-MARGIN], SMALLEST_TILE + MARGIN
    pixels = np.pad(pixels, ((MARGIN, 0), (MARGIN, 0), (0, 0)))[-rows * step :, -columns * step :]
    cells = pixels.reshape(rows, step, columns, step, 3).swapaxes(1, 2)
    return cells[:, :, MARGIN::SCALE, MARGIN::SCALE]


@pytest.fixture
def titles(monkeypatch):
    """The titles of the sheets."""
    given, draw = [], pictures.sheet

    def sheet(images, *titles, **options):
        given.append(titles)
        return draw(images, *titles, **options)

    monkeypatch.setattr(pictures, "sheet", sheet)
    return given


def test_a_sheet_has_one_latent_a_row_and_one_class_a_column(sampler, titles):
    found = tiles(class_sheet(sampler, [2, 0], 3, 0.5, seed=4), 3, 2)
    z = sampler.latents(3, 0.5, seed=4)
    for column, label in enumerate([2, 0]):
        np.testing.assert_array_equal(found[:, column], sampler.images(z, [label] * 3, 0.5))
    assert titles == [([NAMES[2], NAMES[0]],)]


def test_a_sweep_has_one_truncation_a_column_of_latents_and_statistics(sampler, titles):
    found = tiles(truncation_sheet(sampler, [1, 2], 2, [0.5, 0], seed=3), 4, 2)
    for column, truncation in enumerate([0.5, 0]):
        wanted = [sampler.sample([label] * 2, truncation, seed=3) for label in (1, 2)]
        np.testing.assert_array_equal(found[:, column], np.concatenate(wanted))
    assert titles == [(["truncation 0.5", "untruncated"], [NAMES[1], "", NAMES[2], ""])]


def test_from_class_to_class_the_latent_stays_and_each_class_is_passed_once(sampler, titles):
    images = interpolations(sampler, "class", [0, 2, 1], rows=2, steps=3, truncation=0.5, seed=1)
    assert images.shape == (2, 1, 5, SIZE, SIZE, 3)
    z = sampler.latents(2, 0.5, seed=1)
    for row in range(2):
        stops = sampler.images(np.repeat(z[[row]], 3, axis=0), [0, 2, 1], 0.5)
        np.testing.assert_array_equal(images[row, 0, ::2], stops)
        half = sampler.images(z[[row]], np.float32([[0.5, 0, 0.5]]), 0.5)[0]
        np.testing.assert_array_equal(images[row, 0, 1], half)
    np.testing.assert_array_equal(
        tiles(interpolation_sheet(sampler, "class", [0, 2, 1], images), 2, 5), images[:, 0]
    )
    assert titles == [([NAMES[0], "", NAMES[2], "", NAMES[1]],)]


def test_from_latent_to_latent_the_class_stays_and_all_classes_go_the_same_way(sampler, titles):
    images = interpolations(sampler, "z", [2, 1], rows=2, steps=2, truncation=None, seed=1)
    z = sampler.latents(4, seed=1).reshape(2, 2, -1)
    for row in range(2):
        for column, label in enumerate([2, 1]):
            np.testing.assert_array_equal(images[row, column], sampler.images(z[row], [label] * 2))
    page = tiles(interpolation_sheet(sampler, "z", [2, 1], images), 4, 2)
    np.testing.assert_array_equal(page[1], images[1, 0])
    np.testing.assert_array_equal(page[2], images[0, 1])
    assert titles == [(["", ""], [NAMES[2], "", NAMES[1], ""])]


def test_both_go_from_a_latent_of_one_class_to_another_of_another(sampler):
    images = interpolations(sampler, "both", [0, 1], rows=2, steps=2, truncation=None, seed=1)
    wanted = sampler.images(sampler.latents(4, seed=1), [0, 1, 0, 1])
    np.testing.assert_array_equal(images.reshape(4, SIZE, SIZE, 3), wanted)


def test_the_frames_of_an_animation_show_all_interpolations_side_by_side(sampler, titles):
    images = interpolations(sampler, "z", [0, 1, 2], rows=2, steps=3, truncation=None, seed=1)
    frames = animation_frames(sampler, "z", [0, 1, 2], images)
    for t in range(3):
        np.testing.assert_array_equal(tiles(frames[t], 2, 3), images[:, :, t])
    assert titles == [([*NAMES],)] * 3


def test_an_animation_from_class_to_class_names_the_classes_it_lies_between(sampler, titles):
    images = interpolations(sampler, "both", [0, 2, 1], rows=1, steps=3, truncation=None, seed=1)
    frames = animation_frames(sampler, "both", [0, 2, 1], images)
    first, second, third = NAMES[0], NAMES[2], NAMES[1]
    expected = [first, f"{first} → {second}", second, f"{second} → {third}", third]
    assert titles == [([title],) for title in expected]
    assert not frames.shape[1] % 2 and not frames.shape[2] % 2
    for t in range(5):
        np.testing.assert_array_equal(tiles(frames[t], 1, 1), images[:, :, t])
        above = frames[t, : -SMALLEST_TILE - MARGIN]
        assert (above < 128).any()  # the title is drawn


def test_one_class_is_no_way_between_classes_and_too_many_images_are_no_picture(sampler, monkeypatch):
    with pytest.raises(UserError, match="--interpolate=class goes from class to class: give two or more"):
        interpolations(sampler, "class", [1], 1, 2, None, 0)
    monkeypatch.setattr(pictures, "MOST_BYTES", 10 * 3 * SMALLEST_TILE**2)
    class_sheet(sampler, [0, 1], 5, None, 0)
    with pytest.raises(UserError, match="12 images of 8 px are too many for one picture: take 10 at most"):
        class_sheet(sampler, [0, 1], 6, None, 0)


def test_classes_shown_are_spread_over_all(sampler, monkeypatch):
    assert default_classes(sampler) == [0, 1, 2]
    monkeypatch.setattr(sampler, "num_classes", 1000)
    assert default_classes(sampler) == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
