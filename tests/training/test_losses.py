"""Every loss against its formula in plain numpy, its slopes, and what its entry says of it; in float64."""

import jax
import numpy as np
import pytest
from scipy.special import expit, log_expit

from biggan_jax.config import default_config
from biggan_jax.training.step.losses import (
    LOSSES,
    discriminator_hinge,
    negative_mean_logit,
    warn_of_convergence,
)

REAL, FAKE = np.array([2.0, 1.0, 0.5, -1.0, 30.0]), np.array([-3.0, -1.0, 0.25, 2.0, -700.0])
# The same formulas in other words: logarithms of the logistic function in place of softplus.
EXPECTED = {
    "hinge": (
        lambda real, fake: np.mean(np.maximum(0, 1 - real)) + np.mean(np.maximum(0, 1 + fake)),
        lambda real, fake: -np.mean(fake),
    ),
    "non_saturating": (
        lambda real, fake: -np.mean(log_expit(real)) - np.mean(log_expit(-fake)),
        lambda real, fake: -np.mean(log_expit(fake)),
    ),
    "wasserstein": (
        lambda real, fake: np.mean(fake) - np.mean(real),
        lambda real, fake: -np.mean(fake),
    ),
    "relativistic": (
        lambda real, fake: -np.mean(log_expit(real - fake)),
        lambda real, fake: -np.mean(log_expit(fake - real)),
    ),
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def generator_loss(loss, real, fake):
    return loss.generator(fake, real) if loss.paired else loss.generator(fake)


def test_every_loss_has_a_reference():
    assert EXPECTED.keys() == LOSSES.keys()
    assert len({loss.label for loss in LOSSES.values()}) == len(LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_both_losses_equal_their_formulas(name):
    loss, (of_discriminator, of_generator) = LOSSES[name], EXPECTED[name]
    np.testing.assert_allclose(loss.discriminator(REAL, FAKE), of_discriminator(REAL, FAKE), rtol=1e-12)
    np.testing.assert_allclose(generator_loss(loss, REAL, FAKE), of_generator(REAL, FAKE), rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_of_both_losses_equal_finite_differences_of_the_formulas(name):
    loss = LOSSES[name]
    real, fake = np.array([2.5, 0.6, -1.0]), np.array([-3.0, 0.25, 2.0])  # none at a kink
    functions = (loss.discriminator, lambda real, fake: generator_loss(loss, real, fake))
    for function, formula in zip(functions, EXPECTED[name], strict=True):
        slopes = jax.grad(function, argnums=(0, 1))(real, fake)
        for side, slope in enumerate(slopes):
            for index in range(3):
                move = [np.zeros(3), np.zeros(3)]
                move[side][index] = 1e-6
                up, down = (formula(real + sign * move[0], fake + sign * move[1]) for sign in (1, -1))
                np.testing.assert_allclose(slope[index], (up - down) / 2e-6, rtol=1e-7, atol=1e-9)


def test_a_loss_that_need_not_converge_without_penalties_names_the_missing_ones():
    config = default_config()
    assert warn_of_convergence(config) is None
    config.loss = "relativistic"
    assert "set config.remedies.r1 and config.remedies.r2 " in warn_of_convergence(config)
    config.remedies.r1 = 0.1
    assert "set config.remedies.r2 " in warn_of_convergence(config)
    config.remedies.r2 = 0.1
    assert warn_of_convergence(config) is None


def test_discriminator_hinge_is_zero_beyond_the_margins_and_linear_within():
    real, fake = np.array([2.0, 1.0, 0.5, -1.0]), np.array([-3.0, -1.0, 0.0, 2.0])
    assert discriminator_hinge(real, fake) == (0 + 0 + 0.5 + 2) / 4 + (0 + 0 + 1 + 3) / 4


def test_discriminator_hinge_pulls_only_on_logits_within_the_margins():
    real, fake = np.array([2.0, 0.5, -1.0]), np.array([-3.0, 0.0, 2.0])
    real_slope, fake_slope = jax.grad(discriminator_hinge, argnums=(0, 1))(real, fake)
    np.testing.assert_allclose(real_slope, np.array([0, -1, -1]) / 3)
    np.testing.assert_allclose(fake_slope, np.array([0, 1, 1]) / 3)


def test_generator_hinge_is_minus_the_mean_logit_without_a_margin():
    fake = np.array([-3.0, 0.0, 5.0])
    np.testing.assert_allclose(negative_mean_logit(fake), -2 / 3)
    np.testing.assert_allclose(jax.grad(negative_mean_logit)(fake), -np.ones(3) / 3)


def test_logistic_losses_pull_in_full_on_hopeless_logits_and_not_at_all_on_settled_ones():
    loss = LOSSES["non_saturating"]
    slopes = jax.grad(loss.generator)(np.array([-800.0, 0.0, 800.0]))
    np.testing.assert_allclose(slopes, [-1 / 3, -expit(0.0) / 3, 0.0], atol=1e-12)
    slopes = jax.grad(loss.discriminator, argnums=1)(np.zeros(3), np.array([-800.0, 0.0, 800.0]))
    np.testing.assert_allclose(slopes, [0.0, expit(0.0) / 3, 1 / 3], atol=1e-12)


def test_relativistic_losses_depend_on_the_difference_within_each_pair_alone():
    loss, shift = LOSSES["relativistic"], np.array([5.0, -2.0])
    real, fake = np.array([3.0, -3.0]), np.array([2.0, -4.0])
    for function in (loss.discriminator, lambda real, fake: loss.generator(fake, real)):
        np.testing.assert_allclose(function(real + shift, fake + shift), function(real, fake), rtol=1e-12)
        # The same logits in other pairs give another loss; an unpaired one would not notice.
        assert abs(function(real, fake[::-1]) - function(real, fake)) > 1


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_called_non_negative_has_its_minimum_at_zero_and_any_other_falls_below(name):
    separated = [float(LOSSES[name].discriminator(np.full(3, far), np.full(3, -far))) for far in (1.0, 800.0)]
    if LOSSES[name].non_negative:
        assert separated[1] == pytest.approx(0, abs=1e-300) and separated[0] >= 0
    else:
        assert separated[1] < separated[0] < 0
