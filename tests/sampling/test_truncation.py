"""Truncation: how far latents spread, and statistics between the stored truncations."""

import math

import jax
import numpy as np
import pytest
import scipy.stats
from tiny_exports import CLASSES, LATENT, make_config, make_exported

from biggan_jax.models.spectral_norm import initial_vectors
from biggan_jax.runtime.errors import UserError
from biggan_jax.sampling.latents import sample_latents
from biggan_jax.sampling.sampler import Sampler
from biggan_jax.sampling.standing_statistics import prepare_generator
from biggan_jax.sampling.truncation import (
    TRUNCATION_KINDS,
    refuse_impossible,
    spread,
    statistics_at,
    untruncated,
)

GRID = {"threshold": (0.25, 0.5, 1.0, 2.0, 0.0), "scale": (0.1, 0.4, 1.0)}


def scalar(values):
    """Statistics of one number for each truncation."""
    return {truncation: {"norm": np.float32([value])} for truncation, value in values.items()}


def value_at(values, kind, truncation):
    return statistics_at(scalar(values), kind, truncation)["norm"].item()


@pytest.mark.parametrize("threshold", [1e-6, 5e-4, 0.0015, 0.02, 0.3, 1.0, 2.5, 6.0, 50.0])
def test_the_spread_by_thresholds_is_the_truncated_normals_standard_deviation(threshold):
    if threshold >= 0.02:  # below, SciPy cancels to noise
        expected = scipy.stats.truncnorm(-threshold, threshold).std()
        assert spread("threshold", threshold) == pytest.approx(expected, rel=1e-7)
    places = np.linspace(-min(threshold, 12), min(threshold, 12), 100_001)
    density = np.exp(-(places**2) / 2)
    expected = math.sqrt(np.trapezoid(density * places**2, places) / np.trapezoid(density, places))
    assert spread("threshold", threshold) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("truncation", [0.3, 1.0, 0.0])
def test_the_spread_is_that_of_the_latents_that_are_drawn(truncation):
    z = sample_latents(jax.random.key(0), np.arange(1000), 100, truncation=truncation)
    assert np.std(z) == pytest.approx(spread("threshold", truncation), rel=0.01)


def test_the_spread_by_scales_is_the_share_of_the_whole():
    whole, half = (
        sample_latents(jax.random.key(0), np.arange(100), 10, truncation=scale, kind="scale")
        for scale in (1.0, 0.5)
    )
    assert np.std(half) / np.std(whole) == pytest.approx(spread("scale", 0.5))
    assert spread("scale", untruncated("scale")) == 1


@pytest.mark.parametrize("kind", TRUNCATION_KINDS)
def test_stored_statistics_are_given_as_they_are(kind):
    stored = scalar({truncation: number for number, truncation in enumerate(GRID[kind])})
    for truncation in GRID[kind]:
        assert statistics_at(stored, kind, truncation) is stored[truncation]


@pytest.mark.parametrize("kind", TRUNCATION_KINDS)
def test_between_stored_truncations_the_mixture_is_continuous_and_monotone(kind):
    grid = GRID[kind]
    values = {truncation: 10.0 * number for number, truncation in enumerate(grid)}
    ends = [one or 8.0 for one in (grid[0], grid[-1])]
    found = [value_at(values, kind, truncation) for truncation in np.linspace(*ends, 2001)]
    steps = np.diff(found)
    assert steps.min() > -1e-5  # float32's rounding
    assert steps.max() < 0.2  # continuous: 40 in 2,000 steps, and no jump
    assert found[0] == 0 and found[-1] == pytest.approx(values[grid[-1]], abs=1e-3)


def test_half_of_the_way_in_spread_is_half_of_each():
    below, above = spread("threshold", 0.5), spread("threshold", 1.0)
    low, high = 0.5, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spread("threshold", middle) < (below + above) / 2 else (low, middle)
    assert value_at({0.5: 1.0, 1.0: 3.0, 0.0: 100.0}, "threshold", low) == pytest.approx(2.0)
    assert value_at({0.2: 1.0, 0.6: 3.0}, "scale", 0.3) == pytest.approx(1.5)


def test_the_whole_distribution_is_the_far_end_of_thresholds():
    values = {1.0: 0.0, 0.0: 1.0}
    assert 0.99 < value_at(values, "threshold", 4.0) < 1
    assert value_at(values, "threshold", 40.0) == 1  # as wide as no truncation at all
    assert value_at({40.0: 5.0, 0.0: 6.0}, "threshold", 50.0) in (5, 6)


@pytest.mark.parametrize(
    ("kind", "stored", "truncation"),
    [
        ("threshold", (0.5, 1.0), 0.4),
        ("threshold", (0.5, 1.0), 1.1),
        ("threshold", (0.5, 1.0), 0.0),
        ("threshold", (0.0,), 3.0),
        ("scale", (0.2, 0.8), 0.1),
        ("scale", (0.2, 0.8), 1.0),
        ("scale", (), 0.5),
    ],
)
def test_beyond_the_stored_truncations_there_are_none(kind, stored, truncation):
    values = {one: 1.0 for one in stored}
    words = ", ".join(f"{one:g}" for one in sorted(stored, key=lambda one: spread(kind, one)))
    with pytest.raises(UserError, match=f"statistics at {words or 'no truncation'}; choose.*--truncations"):
        value_at(values, kind, truncation)


@pytest.mark.parametrize(
    ("kind", "truncation", "distribution"),
    [
        ("threshold", -0.1, "normal"),
        ("threshold", math.nan, "normal"),
        ("threshold", math.inf, "normal"),
        ("scale", 1.1, "normal"),
        ("scale", -0.1, "normal"),
        ("threshold", 0.5, "uniform"),
        ("scale", 0.5, "bernoulli"),
    ],
)
def test_latents_that_cannot_be_are_refused(kind, truncation, distribution):
    with pytest.raises(UserError, match="truncation = "):
        refuse_impossible(kind, truncation, distribution)


def test_latents_of_other_distributions_are_allowed_whole():
    refuse_impossible("threshold", 0.0, "uniform")
    refuse_impossible("scale", 1.0, "bernoulli")


def test_interpolated_statistics_draw_nearly_the_images_of_gathered_ones():
    config = make_config(**{"sampling.standing_passes": 20, "sampling.batch_size": 64})
    params = make_exported().params
    vectors = initial_vectors(params, jax.random.key(0))
    stored = Sampler(prepare_generator(config, params, vectors, GRID["threshold"]))
    gathered = Sampler(prepare_generator(config, params, vectors, [0.7]))
    only_near = Sampler(prepare_generator(config, params, vectors, [0.5]))
    labels = np.arange(60) % CLASSES
    z = gathered.latents(60, 0.7, seed=1)
    assert z.shape == (60, LATENT)
    exact = gathered.images(z, labels, 0.7, "float32")
    error = np.abs(stored.images(z, labels, 0.7, "float32") - exact).mean()
    error_of_nearest = np.abs(only_near.images(z, labels, 0.5, "float32") - exact).mean()
    assert error < error_of_nearest / 3 and 127.5 * error < 0.6  # of 255 levels
