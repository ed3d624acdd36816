"""Latents and labels: their distributions, truncation, and that nothing but key and index decides them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from biggan_jax.sampling.latents import DISTRIBUTIONS, sample_labels, sample_latents

KEY = jax.random.key(0)
COUNT, DIM = (
    2000,
    10,
)  # 20,000 numbers: the tests below fail by chance once in 10,000 seeds, and the seed is fixed
CDFS = {
    "normal": stats.norm.cdf,
    "uniform": stats.uniform(-1, 2).cdf,
}


def draw(distribution="normal", truncation=0.0, key=KEY, count=COUNT):
    return np.asarray(sample_latents(key, jnp.arange(count), DIM, distribution, truncation))


@pytest.fixture(scope="module")
def normal():
    return draw()


@pytest.mark.parametrize("distribution", CDFS)
def test_continuous_latents_follow_their_distribution(distribution):
    assert stats.kstest(draw(distribution).ravel(), CDFS[distribution]).pvalue > 1e-4


def test_bernoulli_latents_are_zero_or_one_with_equal_chance():
    z = draw("bernoulli")
    assert z.dtype == np.float32 and set(np.unique(z)) == {0.0, 1.0}
    assert stats.binomtest(int(z.sum()), z.size).pvalue > 1e-4


def test_censored_normal_latents_are_normal_ones_with_the_negative_at_zero(normal):
    z = draw("censored_normal")
    np.testing.assert_array_equal(z, np.maximum(normal, 0))


@pytest.mark.parametrize("threshold", [0.3, 2.0])
def test_truncated_latents_are_normal_ones_resampled_within_the_threshold(threshold):
    z = draw(truncation=threshold)
    assert np.abs(z).max() <= threshold
    assert stats.kstest(z.ravel(), stats.truncnorm(-threshold, threshold).cdf).pvalue > 1e-4


def test_components_and_latents_are_not_correlated(normal):
    assert np.abs(np.corrcoef(normal.T) - np.eye(DIM)).max() < 0.1
    assert np.abs(np.corrcoef(normal[:-1].ravel(), normal[1:].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_latent_depends_on_its_index_alone_not_on_the_batch_it_is_drawn_in(distribution):
    together = draw(distribution, count=8)
    in_parts = [sample_latents(KEY, jnp.array(indices), DIM, distribution) for indices in ([6, 1], [3])]
    np.testing.assert_array_equal(np.concatenate(in_parts), together[[6, 1, 3]])


def test_a_truncated_latent_depends_on_its_index_alone():
    in_parts = sample_latents(KEY, jnp.array([6, 1]), DIM, truncation=0.5)
    np.testing.assert_array_equal(in_parts, draw(truncation=0.5, count=8)[[6, 1]])


def test_a_label_depends_on_its_index_alone():
    together = np.asarray(sample_labels(KEY, jnp.arange(50), 7))
    np.testing.assert_array_equal(sample_labels(KEY, jnp.array([40, 3]), 7), together[[40, 3]])


def test_another_key_draws_other_latents_and_labels(normal):
    other = jax.random.key(1)
    assert not np.isclose(draw(key=other), normal).any(axis=1).all()
    assert not np.array_equal(sample_labels(other, jnp.arange(50), 7), sample_labels(KEY, jnp.arange(50), 7))


def test_labels_are_uniform_over_all_classes():
    counts = np.bincount(np.asarray(sample_labels(KEY, jnp.arange(7000), 7)), minlength=7)
    assert len(counts) == 7 and stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(distribution="gaussian"), "'gaussian'.*normal"),
        (dict(distribution="uniform", truncation=0.5), "truncation = 0.5 with uniform"),
        (dict(truncation=-1.0), "truncation = -1.0"),
    ],
)
def test_unknown_distributions_and_truncations_that_do_not_exist_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        draw(count=2, **arguments)
