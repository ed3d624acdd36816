"""FID against scipy's matrix root, closed forms and simulation."""

import numpy as np
import pytest
import scipy.linalg

from biggan_jax.evaluation.scores import frechet
from biggan_jax.evaluation.scores.frechet import FeatureStatistics, distance, distance_of_features


def draw(count, width=6, seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).standard_normal((width, width))
    return scale * random.standard_normal((count, width)) @ mixing


def statistics(rows):
    return FeatureStatistics(rows.mean(axis=0), np.cov(rows, rowvar=False), len(rows))


def by_sqrtm(first, second):
    difference = first.mean - second.mean
    root = scipy.linalg.sqrtm(first.covariance @ second.covariance).real
    return difference @ difference + np.trace(first.covariance + second.covariance - 2 * root)


@pytest.mark.parametrize("width", [1, 2, 40])
def test_fid_is_what_scipys_matrix_root_gives(width):
    first = statistics(draw(300, width))
    second = statistics(draw(200, width, seed=1, scale=1.7) + 0.3)
    second = FeatureStatistics(second.mean, second.covariance.reshape(width, width), 200)
    first = FeatureStatistics(first.mean, first.covariance.reshape(width, width), 300)
    assert distance(first, second) == pytest.approx(by_sqrtm(first, second), rel=1e-10)


def test_fid_of_commuting_covariances_has_its_closed_form():
    a, b = np.array([1.0, 4.0, 0.0]), np.array([9.0, 0.25, 0.0])
    first, second = (FeatureStatistics(np.full(3, mean), np.diag(x)) for mean, x in ((0.0, a), (2.0, b)))
    assert distance(first, second) == pytest.approx(12 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-14)


def test_fid_is_symmetric_and_the_same_in_rotated_features():
    x, y = draw(300), draw(200, seed=1, scale=2) + 1
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))[0]
    value = distance(statistics(x), statistics(y))
    assert distance(statistics(y), statistics(x)) == pytest.approx(value, rel=1e-12)
    assert distance(statistics(x @ turn), statistics(y @ turn)) == pytest.approx(value, rel=1e-12)


def test_fid_to_oneself_is_zero_even_without_full_rank():
    x = draw(20, width=50)
    assert 0 <= distance(statistics(x), statistics(x)) < 1e-5 * np.trace(statistics(x).covariance)
    assert 0 <= distance_of_features(x, x) < 1e-12 * np.trace(statistics(x).covariance)


def test_fid_is_never_minus_zero_nor_below():
    found = [distance_of_features(x, x) for x in (draw(20, width=50, seed=seed) for seed in range(20))]
    found += [distance(statistics(x), statistics(x)) for x in (draw(30, seed=seed) for seed in range(20))]
    assert not np.signbit(found).any()


@pytest.mark.parametrize(("reals", "samples"), [(300, 200), (20, 200), (200, 20), (20, 15), (300, 41)])
def test_fid_of_features_is_that_of_their_statistics_below_and_above_full_rank(reals, samples):
    x, y = draw(reals, width=40), draw(samples, width=40, seed=1) * 1.5 + 0.2
    expected = distance(statistics(x), statistics(y))
    assert distance_of_features(x, y) == pytest.approx(expected, rel=1e-6)


def test_too_few_samples_for_full_rank_are_named():
    reference = statistics(draw(300, width=40))
    few = frechet.fid(reference, statistics(draw(40, width=40, seed=1)))
    assert few.too_few
    assert "40 images with 40 features" in few.sentence
    assert "more than 40 images, better 400" in few.sentence
    enough = frechet.fid(reference, statistics(draw(41, width=40, seed=1)))
    assert not enough.too_few
    assert frechet.fid(statistics(draw(30, width=40)), statistics(draw(300, width=40, seed=1))).too_few


def test_statistics_without_a_count_give_no_bias():
    x = statistics(draw(300))
    found = frechet.fid(x, FeatureStatistics(x.mean, x.covariance))
    assert np.isnan(found.expected_bias)
    assert "an unknown number of samples." in found.sentence
    one_sided = frechet.fid(FeatureStatistics(x.mean, x.covariance), x).expected_bias
    assert frechet.fid(x, x).expected_bias == pytest.approx(2 * one_sided)


def test_the_stated_bias_is_what_perfect_gaussian_samples_get():
    random, count, reference_count = np.random.default_rng(0), 400, 700
    scales = np.array([3.0, 2.5, 2.0, 1.0, 0.1])
    values = [
        distance_of_features(
            random.standard_normal((reference_count, 5)) * scales, random.standard_normal((count, 5)) * scales
        )
        for _ in range(600)
    ]
    stated = frechet.expected_bias(scales**2, count, reference_count)
    standard_error = np.std(values) / np.sqrt(len(values))
    assert standard_error < 0.03 * stated
    assert np.mean(values) == pytest.approx(stated, abs=3 * standard_error)


def test_the_stated_bias_in_one_dimension_is_that_of_mean_and_deviation():
    # Var(mean) = λ/N; Var(standard deviation) ≈ λ/2N
    assert frechet.expected_bias(np.array([4.0]), 100) == pytest.approx(4 / 100 + 2 / 100)


def test_each_class_is_compared_with_its_own_real_images():
    real, samples = draw(60), draw(50, seed=1)
    real_labels, labels = np.arange(60) % 3, np.arange(50) % 2
    labels[0] = 3
    found = frechet.per_class(real, real_labels, samples, labels, 5)
    assert np.isnan(found[2:]).all()  # no samples, one sample and no real images, nothing
    for label in range(2):
        expected = distance(statistics(real[real_labels == label]), statistics(samples[labels == label]))
        assert found[label] == pytest.approx(expected, rel=1e-9)


def test_statistics_of_two_networks_are_refused():
    with pytest.raises(ValueError, match="from two networks"):
        distance(statistics(draw(50)), statistics(draw(50, width=5)))
