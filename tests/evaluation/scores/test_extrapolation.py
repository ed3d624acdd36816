"""FID∞ against what FID is of many more samples."""

import numpy as np
import pytest

from biggan_jax.evaluation.scores.frechet import FeatureStatistics, distance, expected_bias, extrapolated
from biggan_jax.evaluation.scores.moments import Moments
from biggan_jax.runtime.errors import UserError

REFERENCE = FeatureStatistics(np.zeros(6), np.eye(6))


def statistics(rows):
    moments = Moments()
    moments.update(rows)
    return moments.statistics()


def test_extrapolation_takes_the_bias_of_perfect_samples_away():
    random = np.random.default_rng(0)
    draws = [random.standard_normal((800, 6)) for _ in range(20)]
    found = [(distance(REFERENCE, statistics(rows)), extrapolated(REFERENCE, rows)) for rows in draws]
    plain, at_infinity = np.mean(found, axis=0)
    assert plain == pytest.approx(expected_bias(np.ones(6), 800), rel=0.2)
    assert abs(at_infinity) < 0.25 * plain


def test_the_same_samples_give_the_same_number():
    rows = np.random.default_rng(0).standard_normal((100, 6))
    assert extrapolated(REFERENCE, rows) == extrapolated(REFERENCE, rows)


@pytest.mark.parametrize(("count", "enough"), [(69, False), (70, True)])
def test_of_too_few_samples_nothing_is_said(count, enough):
    rows = np.random.default_rng(0).standard_normal((count, 6))
    assert (extrapolated(REFERENCE, rows) is not None) == enough


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="1 of 100 samples are not finite"):
        extrapolated(REFERENCE, np.full((100, 6), [[np.inf]] + [[0.0]] * 99))
