"""Precision, recall, density and coverage against all distances at once, and on sets of known overlap."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from biggan_jax.evaluation.scores import nearest
from biggan_jax.evaluation.scores.manifold import manifold
from biggan_jax.runtime.errors import UserError


def draw(count, seed=0, scale=1.0, shift=0.0):
    return (scale * np.random.default_rng(seed).standard_normal((count, 4)) + shift).astype("f")


@pytest.mark.parametrize("block", [16, 4096])
def test_all_four_are_what_the_full_matrix_says(monkeypatch, block):
    monkeypatch.setattr(nearest, "LARGEST_BLOCK", block)
    real, samples = draw(70), draw(50, seed=1, scale=0.8, shift=0.4)
    across = cdist(np.float64(real), np.float64(samples))

    def radii(rows, k):
        return np.sort(cdist(np.float64(rows), np.float64(rows)), axis=1)[:, k]

    found = manifold(real, samples)
    assert found.precision == pytest.approx((across < radii(real, 3)[:, None]).any(axis=0).mean())
    assert found.recall == pytest.approx((across < radii(samples, 3)).any(axis=1).mean())
    inside = across < radii(real, 5)[:, None]
    assert found.density == pytest.approx(inside.sum(axis=0).mean() / 5)
    assert found.coverage == pytest.approx(inside.any(axis=1).mean())
    assert (found.count, found.reference_count) == (50, 70)


def test_sets_far_apart_share_nothing_and_a_set_covers_itself():
    real = draw(60)
    apart = manifold(real, draw(60, seed=1, shift=50))
    assert (apart.precision, apart.recall, apart.density, apart.coverage) == (0, 0, 0, 0)
    itself = manifold(real, real)
    assert (itself.precision, itself.recall, itself.coverage) == (1, 1, 1)


@pytest.mark.parametrize("block", [64, 4096])
def test_copies_of_the_real_images_in_any_order_have_a_density_of_exactly_1(monkeypatch, block):
    """The k-th neighbour lies on the border of a ball. In float32 it was inside now and then: 1.058."""
    monkeypatch.setattr(nearest, "LARGEST_BLOCK", block)
    random = np.random.default_rng(0)
    real = np.maximum(random.standard_normal((300, 64)) + 3, 0).astype("f")
    found = manifold(real, random.permutation(real))
    assert (found.precision, found.recall, found.density, found.coverage) == (1, 1, 1, 1)


def test_pairs_at_equal_distances_are_outside_however_many_they_are():
    grid = np.stack(np.meshgrid(np.arange(12), np.arange(12)), axis=-1).reshape(-1, 2)
    grid = np.concatenate([grid, [[97, 31]]])  # the mean of which is no number of float32
    across = ((grid[:, None] - grid) ** 2).sum(axis=2)
    small, large = np.sort(across, axis=1)[:, [3, 5]].T
    found = manifold(grid.astype("f"), grid[::-1].astype("f"))
    assert found.density == (across < large[:, None]).sum() / (5 * len(grid))
    assert found.precision == (across < small[:, None]).any(axis=0).mean()


def test_a_sampler_that_drops_modes_loses_recall_and_one_that_adds_noise_loses_precision():
    two = np.concatenate([draw(100), draw(100, seed=1, shift=20)])
    dropped = manifold(two, draw(200, seed=2))
    assert dropped.precision > 0.8 and dropped.recall < 0.6 and dropped.coverage < 0.6
    noisy = manifold(draw(200), np.concatenate([draw(100, seed=2), draw(100, seed=3, scale=10)]))
    assert noisy.precision < 0.7 and noisy.recall > 0.9


def test_one_image_repeated_recalls_nothing():
    assert manifold(draw(100), np.repeat(draw(1, seed=2, scale=0.1), 100, axis=0)).recall == 0


def test_too_few_images_for_five_neighbours_are_refused():
    with pytest.raises(UserError, match="needs at least 6 samples, got 5"):
        manifold(draw(20), draw(5))
