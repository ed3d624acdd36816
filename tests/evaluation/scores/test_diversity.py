"""Diversity: distances and Vendi score against closed forms, and classes that lack it."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from biggan_jax.evaluation.scores.diversity import diversity, mean_distance, vendi
from biggan_jax.runtime.errors import UserError


def draw(count, seed=0, width=12):
    return np.random.default_rng(seed).standard_normal((count, width)).astype("f")


@pytest.mark.parametrize("count", [2, 60, 1500])
def test_the_mean_distance_is_over_all_pairs(count):
    rows = draw(count) + 100
    assert mean_distance(rows) == pytest.approx(pdist(np.float64(rows)).mean(), rel=1e-9)


def test_one_image_repeated_is_at_no_distance_and_counts_as_one():
    rows = np.repeat(draw(1) + 100, 50, axis=0)
    assert mean_distance(rows) == 0
    assert vendi(rows) == pytest.approx(1)


def test_equal_images_among_others_add_no_distance():
    rows = (np.float64(draw(3, width=60)) * [[1], [3], [9]])[np.arange(60) % 3]
    expected = pdist(rows[:3]).mean() * (6 * 20 * 20) / (60 * 59)
    assert mean_distance(rows) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("width", [8, 40])
def test_images_that_have_nothing_in_common_count_one_each(width):
    rows = np.eye(width)[np.repeat(np.arange(5), 4)] * np.arange(1, 21)[:, None]  # lengths don't matter
    assert vendi(rows) == pytest.approx(5)
    shares = np.array([0.5, 0.25, 0.25])
    rows = np.eye(width)[np.repeat(np.arange(3), [8, 4, 4])]
    assert vendi(rows) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_an_image_with_no_features_counts_as_one():
    assert vendi(np.zeros((1, 4))) == pytest.approx(1)
    assert vendi(np.concatenate([np.zeros((1, 4)), np.eye(4)[:1]])) == pytest.approx(2)


def test_classes_are_compared_with_their_own_real_images():
    real, samples = (
        np.concatenate([draw(80), 3 * draw(80, 1)]),
        np.concatenate([draw(60, 2), 3 * draw(60, 3)]),
    )
    found = diversity(real, np.repeat([0, 1], 80), samples, np.repeat([0, 1], 60), 3)
    np.testing.assert_allclose(found.ratio[:2], 1, atol=0.08)
    np.testing.assert_allclose(found.real_distance[1] / found.real_distance[0], 3, rtol=0.1)
    np.testing.assert_allclose(found.vendi[:2], found.real_vendi[:2], rtol=0.05)
    assert np.isnan(found.ratio[2])
    assert not found.flagged and found.poor_classes == ()


def test_vendi_scores_are_compared_at_equal_counts():
    labels = np.zeros(200, int)
    found = diversity(draw(200), labels, draw(8, 1), labels[:8], 1)
    assert max(found.vendi[0], found.real_vendi[0]) <= 8
    assert found.vendi[0] == pytest.approx(found.real_vendi[0], rel=0.25)


def test_one_class_in_ten_without_variety_is_flagged_and_named_first():
    labels = np.repeat(np.arange(12), 50)
    samples = draw(600, 1)
    samples[labels == 7] = samples[labels == 7][0]
    samples[labels == 3] *= 0.9
    found = diversity(draw(600), labels, samples, labels, 12)
    assert found.flagged
    assert found.poor_classes == (7,)
    assert found.least[:2] == (7, 3) and len(found.least) == 10
    assert found.vendi[7] == pytest.approx(1)
    assert "below 75 % in 1 of 12 classes" in found.sentence


def test_without_two_images_of_a_class_there_is_nothing_to_say():
    found = diversity(draw(3), np.arange(3), draw(3), np.arange(3), 3)
    assert not found.flagged and found.least == ()
    assert np.isnan(found.mean_ratio)
    assert "diversity cannot be compared" in found.sentence
    with pytest.raises(UserError, match="not finite"):
        diversity(draw(3), np.arange(3), draw(3) * np.nan, np.arange(3), 3)
