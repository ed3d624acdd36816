"""The shuffled control: what it does to images, and what it tells of networks that see shape or don't."""

import numpy as np
import pytest

from biggan_jax.evaluation.scores.frechet import FeatureStatistics
from biggan_jax.evaluation.scores.patch_shuffling import (
    network_agreement,
    patch_sensitivity,
    shuffle_patches,
    thumbnails,
)


def numbered(count=5, size=8, grid=4):
    """Images whose pixels hold the number of their patch."""
    patch = np.arange(grid * grid, dtype=np.uint8).reshape(grid, grid)
    image = patch.repeat(size // grid, axis=0).repeat(size // grid, axis=1)
    return np.tile(image[None, :, :, None], (count, 1, 1, 3))


def statistics(rows):
    return FeatureStatistics(rows.mean(axis=0), np.cov(rows, rowvar=False), len(rows))


def gaussian(mean, count=1000):
    """Statistics whose FIDs are squared distances of their means."""
    return FeatureStatistics(np.array([mean, 0.0]), 1e-9 * np.eye(2), count)


def test_patches_stay_whole_and_none_stays_in_its_place():
    images = numbered()
    shuffled = shuffle_patches(images)
    assert shuffled.shape == images.shape and shuffled.dtype == np.uint8
    corners = shuffled[:, ::2, ::2, 0]
    np.testing.assert_array_equal(corners.repeat(2, axis=1).repeat(2, axis=2), shuffled[..., 2])
    assert all(sorted(image.ravel()) == list(range(16)) for image in corners)
    assert (corners != images[:, ::2, ::2, 0]).all()


def test_patches_keep_their_pixels_in_order():
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)

    def patches(x):
        return sorted(bytes(x[0, i : i + 4, j : j + 4]) for i in (0, 4) for j in (0, 4))

    assert patches(shuffle_patches(image, grid=2)) == patches(image)


def test_every_image_is_shuffled_in_its_own_way_whatever_batch_it_comes_in():
    images = numbered(6)
    whole = shuffle_patches(images, seed=3)
    assert len({image.tobytes() for image in whole}) == 6
    np.testing.assert_array_equal(shuffle_patches(images[4:], seed=3, start=4), whole[4:])
    assert (shuffle_patches(images, seed=4) != whole).any()


def test_thumbnails_are_means_of_squares():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    found = thumbnails(images).reshape(2, 8, 8, 3)
    assert found[1, 2, 3, 0] == pytest.approx(images[1, 4:6, 6:8, 0].mean() / 255)
    with pytest.raises(ValueError, match="12 × 12"):
        thumbnails(images[:, :12, :12])


def test_images_that_cannot_be_cut_are_refused():
    with pytest.raises(ValueError, match=r"10 × 10 pixels cannot be cut into 4 × 4"):
        shuffle_patches(np.zeros((1, 10, 10, 3), np.uint8))


def test_a_network_that_finds_the_control_nearer_than_the_samples_is_blind():
    found = patch_sensitivity("net", gaussian(0), gaussian(1), gaussian(2), gaussian(3))
    assert (found.control_fid, found.samples_fid, found.share) == pytest.approx((1, 4, 4))
    assert found.blind and found.flagged
    assert "does not show" in found.sentence


def test_samples_that_shuffling_moves_as_far_as_real_images_have_a_whole():
    found = patch_sensitivity("net", gaussian(0), gaussian(3), gaussian(1), gaussian(4))
    assert found.wholeness == pytest.approx(1)
    assert not found.blind and not found.flagged


def test_samples_that_shuffling_moves_less_lack_a_whole():
    found = patch_sensitivity("net", gaussian(0), gaussian(3), gaussian(2.5), gaussian(3))
    assert found.wholeness == pytest.approx(0.25 / 9)
    assert not found.blind and found.flagged
    assert "only 3 % as far" in found.sentence


def test_a_network_that_sees_only_colours_is_blind_to_shape():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 300, 8, 8, 3)).astype(np.uint8)

    def colours(x):
        return statistics(np.stack([x.mean(axis=(1, 2)), x.std(axis=(1, 2))], axis=1).reshape(len(x), 6))

    found = patch_sensitivity(
        "colours",
        colours(images[0]),
        colours(shuffle_patches(images[0])),
        colours(images[1]),
        colours(shuffle_patches(images[1])),
    )
    assert found.control_fid == pytest.approx(0, abs=1e-6)
    assert found.blind and found.flagged


def test_two_networks_that_disagree_name_the_one_that_does_not_see():
    sees = patch_sensitivity("second", gaussian(0), gaussian(2), gaussian(1.5), gaussian(3.5))
    does_not = patch_sensitivity("first", gaussian(0), gaussian(2), gaussian(0.1), gaussian(2))
    found = network_agreement(does_not, sees)
    assert found.flagged
    assert (found.first_share, found.second_share) == pytest.approx((0.0025, 0.5625))
    assert "that first cannot detect" in found.sentence
    assert "that first cannot detect" in network_agreement(sees, does_not).sentence
    assert not network_agreement(sees, sees).flagged
    assert "agree" in network_agreement(does_not, does_not).sentence
