"""KID against sums over pairs, and its statistics by simulation."""

import numpy as np
import pytest

from biggan_jax.evaluation.scores.kernel import kid, mmd2
from biggan_jax.runtime.errors import UserError


def draw(count, seed=0, shift=0.0, width=5):
    return (np.random.default_rng(seed).standard_normal((count, width)) + shift).astype("f")


def test_mmd2_is_the_mean_over_pairs_of_different_images():
    x, y = draw(6), draw(8, seed=1, shift=0.5)

    def kernel(a, b):
        return (float(np.dot(np.float64(a), np.float64(b))) / 5 + 1) ** 3

    def within(z):
        return np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])

    across = np.mean([kernel(a, b) for a in x for b in y])
    assert mmd2(x, y) == pytest.approx(within(x) + within(y) - 2 * across, rel=1e-12)


def test_perfect_samples_get_zero_on_average_however_few_they_are():
    values = [kid(draw(12, seed=2 * i), draw(12, seed=2 * i + 1), subsets=10).value for i in range(400)]
    standard_error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * standard_error
    assert min(values) < 0


def test_the_mean_does_not_depend_on_the_size_of_subsets():
    x, y = draw(2000), draw(2000, seed=1, shift=0.3)
    small, large = kid(x, y, subsets=400, subset_size=100), kid(x, y, subsets=20, subset_size=800)
    assert small.value == pytest.approx(large.value, abs=3 * small.standard_error)
    assert small.std > 2 * large.std


def test_the_standard_error_is_the_spread_of_repeated_experiments():
    found = [
        kid(draw(300, seed=2 * i), draw(300, seed=2 * i + 1, shift=0.4), subsets=50, subset_size=100)
        for i in range(150)
    ]
    spread = np.std([each.value for each in found])
    assert np.mean([each.standard_error for each in found]) == pytest.approx(spread, rel=0.2)


def test_few_images_are_compared_in_halves():
    found = kid(draw(60), draw(41, seed=1))
    assert (found.subset_size, found.subsets) == (20, 100)
    assert kid(draw(60), draw(60, seed=1), subset_size=59).subset_size == 59
    assert kid(draw(60), draw(60, seed=1), subset_size=60).subset_size == 30


def test_the_subsets_are_torch_fidelitys_with_the_real_images_as_input_1():
    real, samples = draw(60), draw(50, seed=1, shift=0.2)
    random, values = np.random.RandomState(2020), []
    for _ in range(10):
        chosen = real[random.choice(60, 20, replace=False)]
        values.append(mmd2(chosen, samples[random.choice(50, 20, replace=False)]))
    assert kid(real, samples, subsets=10, subset_size=20).value == np.mean(values)
    assert kid(samples, real, subsets=10, subset_size=20).value != np.mean(values)


def test_the_same_features_give_the_same_number():
    x, y = draw(60), draw(60, seed=1)
    assert kid(x, y) == kid(x, y)


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match="needs at least 4 samples, got 3"):
        kid(draw(60), draw(3))
