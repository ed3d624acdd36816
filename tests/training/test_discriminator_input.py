"""Dropout of D's last features: its rate, and that an image's mask follows its own key."""

import jax
import numpy as np
import pytest

from biggan_jax.training.step.discriminator_input import dropout_mask


def keys_of(count):
    return jax.random.split(jax.random.key(0), count)


def test_dropout_zeroes_at_its_rate_and_keeps_the_mean_at_one():
    mask = np.asarray(dropout_mask(keys_of(200), 100, 0.2))
    assert mask.shape == (200, 100) and mask.dtype == np.float32
    np.testing.assert_allclose(np.unique(mask), [0.0, 1 / 0.8], rtol=1e-6)
    assert abs(np.mean(mask == 0) - 0.2) < 0.01  # three and a half standard errors
    assert abs(mask.mean() - 1) < 0.0125


def test_dropout_of_an_image_is_its_own_and_follows_its_key_alone():
    keys = keys_of(6)
    mask = dropout_mask(keys, 50, 0.5)
    assert len(np.unique(mask, axis=0)) == 6
    parts = [dropout_mask(keys[i : i + 2], 50, 0.5) for i in (0, 2, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), mask)


def test_dropout_at_rate_zero_drops_nothing():
    np.testing.assert_array_equal(dropout_mask(keys_of(20), 100, 0.0), np.ones((20, 100)))


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_dropout_refuses_a_rate_that_is_no_chance_or_drops_all(rate):
    with pytest.raises(ValueError, match=f"dropout rate = {rate}"):
        dropout_mask(keys_of(1), 4, rate)
