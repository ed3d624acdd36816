"""Memorisation: distances and statistic against SciPy, and samplers that copy or don't."""

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import cdist

from biggan_jax.evaluation.scores.memorisation import memorisation
from biggan_jax.runtime.errors import UserError


def draw(count, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal((count, 6)).astype("f")


TRAINING, HELD_OUT = draw(500), draw(300, 1)


def by_hand(images):
    """Nearest training image, and the distance to it over the one from there to its third-nearest other."""
    distances = cdist(np.float64(images), np.float64(TRAINING))
    others = np.sort(cdist(np.float64(TRAINING), np.float64(TRAINING)), axis=1)[:, 3]
    return distances.argmin(axis=1), distances.min(axis=1) / others[distances.argmin(axis=1)]


def test_distances_and_statistic_are_those_of_the_full_matrix_and_of_scipy():
    samples = draw(200, 2, scale=0.9)
    found = memorisation(TRAINING, samples, HELD_OUT)
    numbers, relative = by_hand(samples)
    np.testing.assert_array_equal(found.samples, relative.argsort())
    np.testing.assert_allclose(found.relative, np.sort(relative), rtol=1e-6)
    np.testing.assert_array_equal(found.training, numbers[found.samples])
    theirs = by_hand(HELD_OUT)[1]
    test = scipy.stats.mannwhitneyu(relative, theirs, method="asymptotic", use_continuity=False)
    assert found.closer == pytest.approx(1 - test.statistic / (200 * 300))
    assert 2 * scipy.stats.norm.sf(abs(found.z)) == pytest.approx(test.pvalue)


def test_the_statistic_counts_ties_as_scipy_does():
    samples = np.concatenate([draw(50, 2), TRAINING[:30]])
    held_out = np.concatenate([draw(50, 3), TRAINING[:20]])
    found = memorisation(TRAINING, samples, held_out)
    ours, theirs = by_hand(samples)[1], by_hand(held_out)[1]
    test = scipy.stats.mannwhitneyu(ours, theirs, method="asymptotic", use_continuity=False)
    assert 2 * scipy.stats.norm.sf(abs(found.z)) == pytest.approx(test.pvalue, rel=1e-6)


def test_honest_samples_are_not_flagged():
    flagged = [memorisation(TRAINING, draw(200, seed), HELD_OUT).flagged for seed in range(2, 22)]
    assert not any(flagged)
    z = [memorisation(TRAINING, draw(200, seed), draw(300, 100 + seed)).z for seed in range(2, 22)]
    assert 0.4 < np.std(z) < 1.6


def test_copies_are_flagged_and_come_first_with_the_image_they_copy():
    samples = draw(200, 2)
    samples[50:150] = TRAINING[:100]
    found = memorisation(TRAINING, samples, HELD_OUT)
    assert found.flagged and found.suspicious == pytest.approx(0.5, abs=0.02)
    assert set(found.samples[:100].tolist()) == set(range(50, 150))
    np.testing.assert_array_equal(found.training[:100], found.samples[:100] - 50)
    assert (found.relative[:100] == 0).all()
    assert found.z < -5


def test_copies_with_noise_are_flagged():
    assert memorisation(TRAINING, TRAINING[:200] + draw(200, 5, scale=0.1), HELD_OUT).flagged


def test_a_few_copies_among_many_samples_lead_the_list_without_a_flag():
    samples = np.concatenate([draw(300, 2), TRAINING[:3]])
    found = memorisation(TRAINING, samples, HELD_OUT)
    assert not found.flagged
    assert set(found.samples[:3].tolist()) == {300, 301, 302}
    significant = memorisation(TRAINING, np.concatenate([draw(970, 2), TRAINING[:30]]), draw(2000, 3))
    assert 0.03 < significant.suspicious - significant.expected and not significant.flagged


def test_a_sampler_that_prefers_crowded_places_is_no_copyist():
    training = np.concatenate([draw(500, scale=0.1), draw(500, 1) + 20])
    held_out = np.concatenate([draw(20, 2, scale=0.1), draw(280, 3) + 20])
    found = memorisation(training, draw(300, 4, scale=0.1), held_out)
    assert not found.flagged


def test_a_copy_of_an_image_that_occurs_many_times_is_a_copy():
    training = np.concatenate([TRAINING, np.repeat(TRAINING[:1], 9, axis=0)])
    found = memorisation(training, np.repeat(TRAINING[:1], 30, axis=0), HELD_OUT)
    assert found.flagged and (found.relative == 0).all()


def test_without_images_to_compare_with_it_is_refused():
    with pytest.raises(UserError, match="at least 1 held-out images, got 0"):
        memorisation(TRAINING, draw(10), draw(0))
    with pytest.raises(UserError, match="training images, got 3"):
        memorisation(TRAINING[:3], draw(10), HELD_OUT)
